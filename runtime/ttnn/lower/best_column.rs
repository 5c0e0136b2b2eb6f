//! `ttnn.argmax` of each row.

use bitnetc_plan::op::BestColumn;

use super::Lowering;
use crate::call::{Expr, PyCall};
use crate::tensor::memory_config;

pub fn lower(args: &BestColumn, step: &Lowering<'_>) -> PyCall {
    step.on(&args.input)
        .kwarg("dim", Expr::Int(-1))
        .kwarg("keepdim", false)
        .kwarg("memory_config", memory_config(&args.memory))
}
