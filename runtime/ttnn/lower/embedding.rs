//! `ttnn.embedding`.

use bitnetc_plan::op::Embedding;

use super::{Lowering, layout, operand};
use crate::call::PyCall;
use crate::tensor::memory_config;

pub fn lower(args: &Embedding, step: &Lowering<'_>) -> PyCall {
    step.on(&args.indices)
        .arg(operand(&args.table))
        .kwarg("layout", layout(args.layout))
        .kwarg("memory_config", memory_config(&args.memory))
}
