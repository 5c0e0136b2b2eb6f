//! Model to plan.
//!
//! - [`model`]: the declarative IR, its errors, import from Hugging Face, the shipped models.
//! - [`graph`]: the logical op graph of one phase, before and after fusing.
//! - [`passes`]: what is decided, in order; [`compile()`] runs them.
//! - [`policy`]: what precision is asked for.
//! - [`schedule`]: a phase as TT-NN calls without placements.
//! - [`ttnn`]: the legal ways of each call on a card and what they cost.
//! - [`explain`]: why a step is as it is.
//! - [`pricer`]: single calls by the cost model, outside any plan.
//! - [`target`]: cards and the constants of the cost model.

mod compile;
mod error;
pub mod explain;
pub mod graph;
pub mod model;
mod options;
pub mod passes;
pub mod policy;
pub mod pricer;
pub mod schedule;
pub mod target;
pub mod ttnn;

pub use compile::{Compiled, PhaseRecord, compile};
pub use error::CompileError;
pub use options::Options;
