//! Model to plan.
//!
//! - [`model`]: the declarative IR, its errors, import from Hugging Face, the shipped models.
//! - [`graph`]: the logical op graph of one phase, before and after fusing.

pub mod graph;
pub mod model;
