//! The TT-NN device: calls into the real library, on a card or on a mock of one.
//!
//! TT-NN ships as a Python wheel without C++ headers, so this crate embeds the interpreter that has it. libpython is loaded at run time
//! through CPython's stable ABI: building needs no Python, and a machine without TT-NN gets an error that says what to install.
//!
//! ```text
//!  environment  which interpreter, what it lacks      setup, base  making one (`bitnetc ttnn setup`)
//!       |
//!  bridge ------ cpp/shim ------ libpython ------ ttnn
//!       |
//!  python       Interpreter, Object, Value            error        exceptions without their backtraces
//!       |
//!  call, print  a call as data: executed or printed   tensor, spec descriptions of tensors, both ways
//!       |
//!  card         real or mock, the process environment queue        what a mock needs for traces
//!  open_card    an open card; graph: what it records  info         `bitnetc ttnn info`
//!  machine      what stands in the way of a real card   note         what is under way, for a supervisor
//!  device       plans executed; record: what was asked of the card, and whether a trace may hold it
//! ```
//!
//! One process embeds one interpreter and opens one card; work on several cards takes several processes.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that cannot go on fails"))]

mod base;
mod bridge;
pub mod call;
pub mod card;
pub mod device;
pub mod device_ops;
pub mod emit;
pub mod environment;
pub mod error;
pub mod graph;
pub mod info;
pub mod lower;
pub mod machine;
pub mod mock_card;
pub mod note;
pub mod open_card;
pub mod oracle;
pub mod print;
pub mod python;
pub mod queue;
pub mod record;
pub mod replay;
pub mod setup;
pub mod simulator;
pub mod spec;
pub mod tensor;
#[cfg(test)]
mod test_script;

pub use base::BaseDefect;
pub use call::{Expr, PyCall, Scope, Statement};
pub use card::CardKind;
pub use device::{ComparedDevice, Comparison, Sink, TtnnDevice};
pub use environment::{EnvironmentDefect, EnvironmentError, PythonEnv, Wanted};
pub use error::{PythonError, Refusal, TtnnError};
pub use graph::{Graph, Node, RunMode};
pub use info::{Info, info};
pub use mock_card::MockCard;
pub use open_card::{Captured, CardOptions, MemoryView, OpenCard};
pub use python::{Interpreter, Object, Value, live_objects};
pub use replay::{Difference, PhaseReport, Tally, replay};
pub use setup::{Setup, SetupError};
pub use simulator::Simulator;
