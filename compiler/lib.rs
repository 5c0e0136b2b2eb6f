//! Model to plan.
//!
//! - [`graph`]: the logical op graph of one phase, before and after fusing.

pub mod graph;
