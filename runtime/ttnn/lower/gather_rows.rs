//! `ttnn.embedding` of a value.

use bitnetc_plan::Layout;
use bitnetc_plan::op::GatherRows;

use super::{Lowering, layout, operand};
use crate::call::PyCall;
use crate::tensor::memory_config;

pub fn lower(args: &GatherRows, step: &Lowering<'_>) -> PyCall {
    step.on(&args.indices)
        .arg(operand(&args.table))
        .kwarg("layout", layout(Layout::RowMajor))
        .kwarg("memory_config", memory_config(&args.memory))
}
