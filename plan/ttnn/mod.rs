//! What TT-NN accepts: one file per op family, each constraint in code with TT-NN's own words beside it.
//!
//! [`check`] answers for one call what TT-NN would: the outputs it returns and the L1 it takes, or why it refuses. The compiler asks it
//! of every candidate, [`crate::verify()`] of every step of a plan; the oracle test asks the real library the same questions.

use thiserror::Error;

use crate::{Card, Op, TensorSpec};

/// What a legal call does.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// Specs of the tensors returned, in TT-NN's order. Empty for calls that write in place.
    pub outputs: Vec<TensorSpec>,
    /// Circular, dataflow and scratchpad buffers, bytes on the busiest core, all device programs of the call: their maximum.
    pub circular_buffers: u64,
    /// L1 tensors the call allocates for itself and frees before it returns, in order.
    pub temporaries: Vec<Temporary>,
    /// Device programs launched; 0 for calls that only rename.
    pub programs: u32,
}

/// An L1 tensor internal to a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Temporary {
    /// The tensor.
    pub spec: TensorSpec,
    /// Allocated before the call's output (otherwise after).
    pub before_output: bool,
}

/// A constraint that a call breaks.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what}")]
pub struct Violation {
    /// The constraint with the numbers that break it, in TT-NN's words where it has any.
    pub what: String,
    /// What would be right.
    pub hint: String,
}

/// What TT-NN answers to `op` with operands of these specs (in the order of [`Op::operands`]) on `card`.
///
/// # Errors
/// Every constraint the call breaks.
pub fn check(op: &Op, operands: &[&TensorSpec], card: &Card) -> Result<Outcome, Vec<Violation>> {
    let _ = (op, operands, card);
    Err(Vec::new())
}
