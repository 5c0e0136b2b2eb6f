//! The card a process drives: a real one, Tenstorrent's simulator of one, or a mock that TT-NN takes for one.
//!
//! TT-NN reads its description of the machine from the environment when it first touches a device, once per process. This module puts that
//! environment in order: for a mock card the descriptor, a kernel cache of its own and none of the variables that would change the grid; for
//! a real card nothing of the mock, which is an error rather than silently removed.

use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::environment::PythonEnv;
use crate::error::TtnnError;
use crate::machine::Machine;
use crate::mock_card::MockCard;
use crate::python::{Interpreter, QUIET, set_variable, unset_variable};
use crate::queue;
use crate::simulator::Simulator;

/// A card to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CardKind {
    /// A mock board: allocates, checks and compiles for real, runs no kernel.
    Mock(MockCard),
    /// A simulated chip: runs Tenstorrent's kernels.
    Simulator(Simulator),
    /// The board in this machine, device 0.
    Real,
}

impl fmt::Display for CardKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CardKind::Mock(mock) => write!(f, "the mock {}", mock.name()),
            CardKind::Simulator(simulator) => write!(f, "the simulator {}", simulator.library().display()),
            CardKind::Real => f.write_str("the real card"),
        }
    }
}

const DESCRIPTOR: &str = "TT_METAL_MOCK_CLUSTER_DESC_PATH";
const SLOW_DISPATCH: &str = "TT_METAL_SLOW_DISPATCH_MODE";

/// Has TT-NN remember which buffers were allocated after a capture, and refuse a replay that would overwrite one.
const TRACKING: &str = "TT_METAL_TRACE_ALLOC_TRACKING";

/// The variable that names a simulator's library.
pub(crate) const SIMULATOR: &str = "TT_METAL_SIMULATOR";

/// Variables that select something else than a real card.
const NOT_REAL: [&str; 3] = [DESCRIPTOR, SIMULATOR, "TT_METAL_TTSIM"];

/// Variables of a user's shell that would change a mock card's grid, its firmware (which only the wheel's precompiled one can replace where
/// no real compiler is), or its chips.
const FOREIGN_TO_MOCK: [&str; 8] = [
    SLOW_DISPATCH,
    SIMULATOR,
    "TT_METAL_TTSIM",
    "TT_METAL_CORE_GRID_OVERRIDE_TODEPRECATE",
    "TT_METAL_INSPECTOR",
    "TT_METAL_WATCHER",
    "TT_METAL_VISIBLE_DEVICES",
    "TT_VISIBLE_DEVICES",
];

/// The card this process has opened first.
static OPENED: Mutex<Option<CardKind>> = Mutex::new(None);

/// The files that describe a card to TT-NN; removed when dropped.
#[derive(Debug)]
#[allow(dead_code, reason = "kept for their Drop")]
pub(crate) enum Files {
    /// The descriptor of a mock card.
    Descriptor(tempfile::NamedTempFile),
    /// The directory of a simulator.
    Simulator(tempfile::TempDir),
}

/// Readies the process's environment for `card`.
///
/// # Errors
/// Another card was opened before; something in this [`Machine`] stands in the way of a real card; files cannot be written.
pub(crate) fn prepare(card: &CardKind, env: &PythonEnv) -> Result<Option<Files>, TtnnError> {
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(first) = opened.as_ref().filter(|first| *first != card) {
        return Err(TtnnError::CardChanged { opened: first.to_string(), wanted: card.to_string() });
    }
    let files = match card {
        CardKind::Real => {
            queue::refuse()?;
            Machine::look(env, &NOT_REAL).check()?;
            None
        }
        CardKind::Mock(mock) => Some(prepare_mock(*mock, env)?),
        CardKind::Simulator(simulator) => {
            queue::refuse()?;
            set_variable(TRACKING, "1")?;
            Some(simulator.prepare(env)?)
        }
    };
    *opened = Some(card.clone());
    Ok(files)
}

fn prepare_mock(mock: MockCard, env: &PythonEnv) -> Result<Files, TtnnError> {
    for variable in FOREIGN_TO_MOCK {
        unset_variable(variable)?;
    }
    if mock.slow_dispatch() {
        set_variable(SLOW_DISPATCH, "1")?;
    } else if !Interpreter::runs() {
        queue::load(env)?;
    }
    set_variable(TRACKING, "1")?;
    for (variable, directory) in own_directories("mock")? {
        set_variable(variable, &directory)?;
    }
    let file = write_descriptor(mock).map_err(|source| TtnnError::File { path: std::env::temp_dir(), source })?;
    set_variable(DESCRIPTOR, &file.path().display().to_string())?;
    Ok(Files::Descriptor(file))
}

/// A Python process that takes the mock card for a real one; its descriptor lives as long as this.
#[derive(Debug)]
pub struct MockPython {
    /// The interpreter with its environment set; add the program and its arguments.
    pub command: std::process::Command,
    _descriptor: Files,
}

impl MockCard {
    /// A process of its own on this mock card, for programs that bitnetc emits.
    ///
    /// # Errors
    /// Files of the environment cannot be written.
    pub fn python(self, env: &PythonEnv) -> Result<MockPython, TtnnError> {
        let mut command = std::process::Command::new(&env.executable);
        for variable in FOREIGN_TO_MOCK {
            command.env_remove(variable);
        }
        if self.slow_dispatch() {
            command.env(SLOW_DISPATCH, "1");
        }
        for (variable, directory) in own_directories("mock")? {
            command.env(variable, directory);
        }
        let file = write_descriptor(self).map_err(|source| TtnnError::File { path: std::env::temp_dir(), source })?;
        for (variable, value) in QUIET.into_iter().filter(|(variable, _)| std::env::var_os(variable).is_none()) {
            command.env(variable, value);
        }
        command.env(DESCRIPTOR, file.path());
        Ok(MockPython { command, _descriptor: Files::Descriptor(file) })
    }
}

/// Kernels made by the stand-in compiler, or without an instruction that the simulator lacks, must never be found by a process that drives
/// a real card, and TT-NN writes logs to the current directory unless told otherwise: a directory of bitnetc's own for each, by the variable
/// that names it.
pub(crate) fn own_directories(place: &str) -> Result<Vec<(&'static str, String)>, TtnnError> {
    let cache = cache_directory().join(place);
    [("TT_METAL_CACHE", "kernels"), ("TT_METAL_LOGS_PATH", "logs")]
        .into_iter()
        .map(|(variable, name)| {
            let directory = cache.join(name);
            std::fs::create_dir_all(&directory)
                .map_err(|source| TtnnError::File { path: directory.clone(), source })?;
            Ok((variable, format!("{}/", directory.display())))
        })
        .collect()
}

fn write_descriptor(mock: MockCard) -> std::io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix("bitnetc-mock-").suffix(".yaml").tempfile()?;
    file.write_all(mock.descriptor().as_bytes())?;
    file.flush()?;
    Ok(file)
}

/// `$XDG_CACHE_HOME/bitnetc` or `~/.cache/bitnetc`; without a home, below the temporary directory.
fn cache_directory() -> PathBuf {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(|| std::env::temp_dir().join("cache"));
    base.join("bitnetc")
}
