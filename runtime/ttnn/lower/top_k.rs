//! `ttnn.topk` of each row.

use bitnetc_plan::op::TopK;

use super::Lowering;
use crate::call::{Expr, PyCall};
use crate::tensor::memory_config;

pub fn lower(args: &TopK, step: &Lowering<'_>) -> PyCall {
    step.on(&args.input)
        .arg(args.k)
        .kwarg("dim", Expr::Int(3))
        .kwarg("largest", true)
        .kwarg("sorted", true)
        .kwarg("memory_config", memory_config(&args.memory))
}
