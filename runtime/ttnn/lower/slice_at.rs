//! `ttnn.slice` from where a tensor says.

use bitnetc_plan::op::SliceAt;

use super::{Lowering, operand};
use crate::call::PyCall;
use crate::tensor::memory_config;

/// The dimension of rows in `[1, 1, rows, columns]`.
const ROWS: u32 = 2;

pub fn lower(args: &SliceAt, step: &Lowering<'_>) -> PyCall {
    step.on(&args.input)
        .arg(operand(&args.starts))
        .arg(operand(&args.ends))
        .kwarg("slice_dim", ROWS)
        .kwarg("num_devices", args.parts)
        .kwarg("memory_config", memory_config(&args.memory))
}
