//! Errors of the interpreter and of TT-NN.
//!
//! TT-NN reports a refused call as a C++ exception that Python wraps in a `RuntimeError`. Its text has a fixed form, taken apart here:
//! ```text
//! TT_FATAL @ /project/.../tensor_layout.cpp:171: !shard_align_error.has_value()
//! info:
//! Physical shard shape (20, 320) must be tile {32, 32} sized!
//! backtrace:
//!  --- ...
//! ```
//! The user-mode driver writes its message first, then `Location: file:line`, then a numbered trace. Traces are dropped, the
//! message is kept apart from the check that failed, so that callers can compare it and still show where TT-NN says it comes from.

use std::fmt;
use std::path::PathBuf;

use crate::environment::EnvironmentError;
use crate::machine::{Holder, processes};

/// An exception raised by Python, TT-NN or the loader of libpython.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonError {
    /// The action that failed: usually the dotted name called, `experimental.paged_update_cache`.
    pub context: String,
    /// The exception's type, `RuntimeError`, `TypeError`, ...; empty when the loader of libpython failed.
    pub exception: String,
    /// TT-NN's message, without backtrace.
    pub message: String,
    /// Where TT-NN's own check failed; `None` for any other exception.
    pub refusal: Option<Box<Refusal>>,
}

/// A check of TT-NN that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `TT_FATAL`, `TT_THROW` or `TT_ASSERT`.
    pub check: &'static str,
    /// The condition, as TT-NN's source has it.
    pub condition: String,
    /// TT-NN's source file and line, without directories: `tensor_layout.cpp:171`.
    pub location: String,
}

impl PythonError {
    /// Takes apart what the shim threw: the exception's type, a newline, its text.
    pub(crate) fn from_shim(context: &str, thrown: &str) -> Self {
        let (exception, text) = thrown.split_once('\n').unwrap_or(("", thrown));
        let (message, refusal) = parse(without_trace(text));
        PythonError { context: context.to_owned(), exception: exception.to_owned(), message, refusal }
    }

    /// True when TT-NN gave up waiting for the card, which then takes no more commands.
    pub fn is_hang(&self) -> bool {
        self.message.contains("TIMEOUT: device timeout")
    }

    /// True when TT-NN itself refused the call, as opposed to a wrong argument list or a missing name.
    pub fn is_refusal(&self) -> bool {
        self.refusal.is_some()
    }
}

impl fmt::Display for PythonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.context.is_empty() {
            write!(f, "{}: ", self.context)?;
        }
        f.write_str(&self.message)?;
        match &self.refusal {
            Some(refusal) => write!(f, " ({} at {})", refusal.check, refusal.location),
            None if self.exception.is_empty() => Ok(()),
            None => write!(f, " ({})", self.exception),
        }?;
        if self.is_hang() { f.write_str("; the card has stopped answering: reset it with `tt-smi -r`") } else { Ok(()) }
    }
}

impl std::error::Error for PythonError {}

/// Message and check of an error text without its trace.
fn parse(text: &str) -> (String, Option<Box<Refusal>>) {
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default().trim();
    for check in ["TT_FATAL", "TT_THROW", "TT_ASSERT"] {
        let Some(rest) = head.strip_prefix(check).and_then(|rest| rest.trim_start().strip_prefix("@ ")) else {
            continue;
        };
        let (place, condition) = rest.split_once(": ").unwrap_or((rest, ""));
        let info = lines.filter(|line| line.trim() != "info:").collect::<Vec<_>>().join("\n");
        let info = info.trim();
        let message = if info.is_empty() { format!("{condition} is false") } else { info.to_owned() };
        let location = place.rsplit('/').next().unwrap_or(place).trim().to_owned();
        return (message, Some(Box::new(Refusal { check, condition: condition.to_owned(), location })));
    }
    let words = text.lines().filter(|line| !line.starts_with("Location: ")).collect::<Vec<_>>().join("\n");
    (words.trim().to_owned(), None)
}

/// The text up to TT-NN's `backtrace:` line or the driver's numbered frames.
fn without_trace(text: &str) -> &str {
    let mut at = 0;
    let mut seen_location = false;
    for line in text.split_inclusive('\n') {
        let content = line.trim();
        seen_location |= content.starts_with("Location: ");
        let numbered = seen_location && content.split_once(". ").is_some_and(|(n, _)| n.parse::<u32>().is_ok());
        if content == "backtrace:" || numbered {
            return text[..at].trim_end();
        }
        at += line.len();
    }
    text.trim_end()
}

fn numbers(numbers: &[u32]) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TtnnError {
    /// No usable interpreter, or one that lacks something.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// Python or TT-NN refused something.
    #[error(transparent)]
    Python(#[from] PythonError),
    /// The shared library of the interpreter cannot be loaded.
    #[error("{library}: {reason}; reinstall that Python with a shared libpython, or make another environment with `bitnetc ttnn setup`", library = .library.display())]
    Library {
        /// The library.
        library: PathBuf,
        /// The loader's words.
        reason: String,
    },
    /// One process embeds one interpreter.
    #[error("this process already runs {running}; another interpreter ({wanted}) needs another process", running = .running.display(), wanted = .wanted.display())]
    InterpreterRuns {
        /// The executable whose libpython is loaded.
        running: PathBuf,
        /// The one asked for.
        wanted: PathBuf,
    },
    /// TT-NN reads its description of the machine once per process.
    #[error(
        "this process already opened {opened}; {wanted} needs another process, because TT-NN reads the machine's description once"
    )]
    CardChanged {
        /// The card opened first.
        opened: String,
        /// The card asked for now.
        wanted: String,
    },
    /// A real card was asked for while a variable selects a mock one.
    #[error(
        "a real card was requested, but {variable} is set to {value:?} and would select a mock or simulated one: unset it"
    )]
    MockVariable {
        /// The environment variable.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// A real card was asked for, but the kernel compiler is the mock card's.
    #[error(
        "a real card was requested, but {path} is the stand-in kernel compiler for mock cards: install Tenstorrent's SFPI (/opt/tenstorrent/sfpi) and delete it",
        path = .path.display()
    )]
    StandInCompiler {
        /// The stand-in's path.
        path: PathBuf,
    },
    /// A simulator is a shared library.
    #[error("the simulator {library}: {why}; give the libttsim of the plan's chip family that Tenstorrent publishes", library = .library.display())]
    NoSimulator {
        /// The path given.
        library: PathBuf,
        /// The reason why it cannot be used.
        why: String,
    },
    /// The simulator runs real kernels, which need the real compiler.
    #[error("TT-NN has no kernel compiler: install Tenstorrent's SFPI in /opt/tenstorrent/sfpi, or put it in place of {path}", path = .path.display())]
    NoCompiler {
        /// Where TT-NN's own would be.
        path: PathBuf,
    },
    /// The kernel module shows no card.
    #[error(
        "there is no Tenstorrent card in this machine: the driver shows none in /dev/tenstorrent; install the card and Tenstorrent's kernel module, or use --simulator or --mock"
    )]
    NoCard,
    /// None of the cards is one that TT-NN is allowed to see.
    #[error(
        "TT_VISIBLE_DEVICES names card {}, but the cards here are {}: set it to one of them or unset it",
        numbers(visible),
        numbers(cards)
    )]
    NoVisibleCard {
        /// The cards that there are.
        cards: Vec<u32>,
        /// Those that the variable names.
        visible: Vec<u32>,
    },
    /// Another process holds the card; TT-NN would wait for it without end.
    #[error("card {card} is in use by {}: end it, or wait until it has ended, and run again", processes(holders))]
    InUse {
        /// The card's number.
        card: u32,
        /// The processes.
        holders: Vec<Holder>,
    },
    /// The stand-in for a mock card's command queue is not what or where it should be.
    #[error("the stand-in for a mock card's command queue: {why}")]
    Queue {
        /// The reason.
        why: String,
    },
    /// The open card is not one that the plan was made for.
    #[error("{card} does not fit the plan: {what} is {found}, the plan needs {planned}; {hint}")]
    Unfit {
        /// The open card.
        card: String,
        /// The figure that differs.
        what: String,
        /// The plan's figure.
        planned: String,
        /// The card's.
        found: String,
        /// The remedy.
        hint: String,
    },
    /// No mock descriptor of that name.
    #[error("there is no mock card {name:?}; mock cards are {}", crate::mock_card::names())]
    UnknownMock {
        /// The name asked for.
        name: String,
    },
    /// No chip of the family is harvested so.
    #[error("no {arch:?} chip has {found}: harvesting leaves {there}, so there is no mock card to ask")]
    NoMock {
        /// The family.
        arch: bitnetc_plan::Arch,
        /// The card's figures.
        found: String,
        /// Those that there are.
        there: String,
    },
    /// The plan's card and the one that is open are not of a kind.
    #[error("the plan is for {planned}, but {card} has {found}: check it with the target it was compiled for")]
    OtherCard {
        /// The open card.
        card: String,
        /// Figures of the plan's card.
        planned: String,
        /// Figures of the open one.
        found: String,
    },
    /// A weight or buffer of a plan has no place.
    #[error("{kind} `{name}`: {source}")]
    Allocate {
        /// `weight` or `buffer`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// TT-NN's words.
        source: Box<TtnnError>,
    },
    /// TT-NN answered with something this crate does not understand.
    #[error("{what}: TT-NN answered {answer:?}")]
    Unexpected {
        /// The question, with the form of answer that was expected.
        what: String,
        /// The answer, as text.
        answer: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A call names a value that no earlier statement defines.
    #[error("the call of {call} uses {name:?}, which is not defined")]
    Undefined {
        /// The call.
        call: String,
        /// The name.
        name: String,
    },
    /// A statement has not as many targets as its call has results.
    #[error("{call} returned {results} results for {targets} names")]
    ResultCount {
        /// The call.
        call: String,
        /// How many values it returned.
        results: usize,
        /// How many names wait for them.
        targets: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_loses_its_backtrace_and_keeps_message_condition_and_place() {
        let thrown = "RuntimeError\nTT_FATAL @ /project/tt_metal/impl/tensor_layout.cpp:171: !error.has_value()\ninfo:\nPhysical shard shape (20, 320) must be tile {32, 32} sized!\nbacktrace:\n --- _ttnncpp.so(+0x1)\n --- main\n";
        let error = PythonError::from_shim("add", thrown);
        assert_eq!(error.message, "Physical shard shape (20, 320) must be tile {32, 32} sized!");
        let refusal = error.refusal.as_deref().unwrap();
        assert_eq!((refusal.check, refusal.condition.as_str()), ("TT_FATAL", "!error.has_value()"));
        assert_eq!(
            error.to_string(),
            "add: Physical shard shape (20, 320) must be tile {32, 32} sized! (TT_FATAL at tensor_layout.cpp:171)"
        );
    }

    #[test]
    fn a_refusal_without_words_shows_its_condition() {
        let error = PythonError::from_shim("add", "RuntimeError\nTT_FATAL @ /p/a.cpp:5: x == y\nbacktrace:\n --- f");
        assert_eq!(error.message, "x == y is false");
    }

    #[test]
    fn the_drivers_numbered_frames_are_dropped() {
        let thrown = "RuntimeError\nExactly 2 or 14 ETH cores should be harvested.\nLocation: /p/umd/manager.cpp:71\n 1. f()\n10. g()\n";
        let error = PythonError::from_shim("open_device", thrown);
        assert_eq!(error.message, "Exactly 2 or 14 ETH cores should be harvested.");
        assert!(!error.is_refusal());
    }

    #[test]
    fn an_ordinary_exception_names_its_type() {
        let error = PythonError::from_shim("ttnn.nope", "AttributeError\nmodule 'ttnn' has no attribute 'nope'");
        assert_eq!(error.to_string(), "ttnn.nope: module 'ttnn' has no attribute 'nope' (AttributeError)");
    }

    #[test]
    fn numbers_in_a_message_are_not_taken_for_a_trace() {
        let error = PythonError::from_shim("f", "ValueError\nfirst\n2. second");
        assert_eq!(error.message, "first\n2. second");
    }
}
