//! A stand-in for the command queue of a mock card, with which it captures and replays traces and has events.
//!
//! A mock card of TT-NN crashes at a replay and at an event, because its command queue is a few bytes long. Three functions in the way of
//! TT-NN's own (`cpp/queue.cpp`) give it a queue that takes everything. TT-NN then makes and checks the commands of a trace as for a card,
//! and nobody executes them. They belong to one build of TT-NN, so a release says whether it has them
//! ([`TtnnRelease::mock_queue`]). No process that drives a card or a simulator may have them.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use bitnetc_plan::TtnnRelease;
use tempfile::NamedTempFile;

use crate::bridge::ffi;
use crate::environment::PythonEnv;
use crate::error::TtnnError;

const LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/queue.so"));

/// A symbol that only the stand-in defines.
const MARK: &str = "bitnetc_queue_stand_in";

/// TT-NN's library, as the dynamic linker knows it.
const TT_METAL: &str = "libtt_metal.so";

/// True once TT-NN was imported behind the stand-in.
static LOADED: AtomicBool = AtomicBool::new(false);

/// The shared library, in a file that goes when the value is dropped.
///
/// # Errors
/// A temporary directory that cannot be written.
pub fn library() -> Result<NamedTempFile, TtnnError> {
    let written = || {
        let mut file = tempfile::Builder::new().prefix("bitnetc-queue-").suffix(".so").tempfile()?;
        file.write_all(LIBRARY)?;
        file.flush()?;
        Ok(file)
    };
    written().map_err(|source| TtnnError::File { path: std::env::temp_dir(), source })
}

/// Loads the stand-in into this process, which is for a mock card and has not imported TT-NN yet; nothing for a release that has none.
///
/// # Errors
/// A library that cannot be loaded.
pub(crate) fn load(env: &PythonEnv) -> Result<(), TtnnError> {
    if symbols(env).is_empty() || LOADED.load(Ordering::Relaxed) {
        return Ok(());
    }
    let file = library()?;
    let path = file.path().display().to_string();
    ffi::load_before(&path).map_err(|error| TtnnError::Queue { why: error.what().trim().to_owned() })?;
    LOADED.store(true, Ordering::Relaxed);
    Ok(())
}

/// Whether the imported TT-NN has its queue replaced.
///
/// # Errors
/// [`TtnnError::Queue`] when the installed TT-NN lacks a function that its release has.
pub(crate) fn is_loaded(env: &PythonEnv) -> Result<bool, TtnnError> {
    let loaded = LOADED.load(Ordering::Relaxed);
    if loaded {
        all_defined(TT_METAL, symbols(env))?;
    }
    Ok(loaded)
}

/// Refuses a process that has the stand-in, by whatever way it came there: for cards and simulators.
///
/// # Errors
/// [`TtnnError::Queue`].
pub(crate) fn refuse() -> Result<(), TtnnError> {
    match ffi::defines("", MARK) {
        false => Ok(()),
        true => Err(TtnnError::Queue {
            why: "this process has it, and no mock card is to be opened: take it out of LD_PRELOAD".into(),
        }),
    }
}

fn symbols(env: &PythonEnv) -> &'static [&'static str] {
    TtnnRelease::find(&env.ttnn).map_or(&[], |release| release.mock_queue)
}

fn all_defined(library: &str, symbols: &[&str]) -> Result<(), TtnnError> {
    match symbols.iter().find(|symbol| !ffi::defines(library, symbol)) {
        None => Ok(()),
        Some(missing) => Err(TtnnError::Queue { why: format!("{library} does not define {missing}") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_that_does_not_resolve_is_told_by_name() {
        let file = library().unwrap();
        let path = file.path().to_str().unwrap();
        ffi::load_before(path).unwrap();
        let symbols = TtnnRelease::latest().mock_queue;
        all_defined(path, &symbols[..3]).unwrap();
        let error = all_defined(path, &[symbols[0], "of_another_release"]).unwrap_err().to_string();
        assert!(error.contains("does not define of_another_release"), "{error}");
        assert!(refuse().unwrap_err().to_string().contains("LD_PRELOAD"));
    }
}
