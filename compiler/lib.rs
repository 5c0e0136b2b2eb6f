//! The compiler of bitnetc: it turns the description of a BitNet b1.58 model into a verified plan of TT-NN calls for a Tenstorrent card.
//!
//! Compilation goes through several levels, each with its own module and its own words: the statements of a model file become the nodes of
//! a graph, these become calls, each call has candidates, and the chosen candidates become the steps of a plan.
//!
//! - [`model`]: the declarative IR, its errors, import from Hugging Face, the shipped models.
//! - [`graph`]: the graph of one phase's logical operations, before and after fusing.
//! - [`passes`]: the decisions of the compiler, in the order in which [`compile()`] makes them.
//! - [`policy`]: the precision that is asked of each part of a model.
//! - [`schedule`]: one phase as TT-NN calls without placements.
//! - [`ttnn`]: the legal ways of each call on a card and what they cost.
//! - [`predict`]: the time of a finished phase, what it waits for the dispatcher, and its band.
//! - [`fits()`]: for a model that a card cannot hold, the options with which it can.
//! - [`prove()`]: whether a plan computes its model.
//! - [`explain`]: the alternatives to a step of a plan, and their cost.
//! - [`pricer`]: prices of single calls outside any plan.
//! - [`target`]: cards and the constants of the cost model.

mod compile;
mod error;
pub mod excerpt;
pub mod explain;
mod fits;
pub mod graph;
pub mod model;
mod options;
pub mod passes;
pub mod policy;
pub mod predict;
pub mod pricer;
mod prove;
pub mod schedule;
pub mod target;
pub mod ttnn;

pub use compile::{Compiled, PhaseRecord, compile};
pub use error::CompileError;
pub use fits::{Fit, fits};
pub use options::Options;
pub use prove::prove;
