//! The real TT-NN for tests: the environment a user would have, made by setup where there is none.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use bitnetc_plan::TtnnRelease;
use bitnetc_ttnn::setup::default_directory;
use bitnetc_ttnn::{CardKind, CardOptions, EnvironmentError, MockCard, OpenCard, PythonEnv, Setup, Wanted};

/// The environment that `bitnetc` itself would choose.
pub fn environment() -> &'static PythonEnv {
    static ENV: OnceLock<PythonEnv> = OnceLock::new();
    ENV.get_or_init(|| match PythonEnv::find(None, Wanted::Only(TtnnRelease::latest())) {
        Ok(env) => env,
        Err(EnvironmentError::NotFound { .. }) => {
            let directory = default_directory(&std::env::current_dir().unwrap());
            let outcome =
                Setup::new(&directory, TtnnRelease::latest().version, None).run(&mut |step| eprintln!("setup: {step}"));
            outcome.unwrap_or_else(|error| panic!("these tests need TT-NN: {error}")).env
        }
        Err(error) => panic!("{error}"),
    })
}

/// An open mock card, with every other test of this process kept out.
#[allow(dead_code, reason = "not every test file opens a card")]
pub struct Turn {
    pub device: OpenCard,
    _turn: MutexGuard<'static, ()>,
}

#[allow(dead_code, reason = "not every test file opens a card")]
pub fn open(mock: MockCard) -> Turn {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let device = OpenCard::open(environment(), CardKind::Mock(mock), CardOptions::default()).unwrap();
    Turn { device, _turn: turn }
}
