//! `ttnn.concat`.

use bitnetc_plan::op::Concat;

use super::{Lowering, operand};
use crate::call::{Expr, PyCall};
use crate::tensor::memory_config;

pub fn lower(args: &Concat, step: &Lowering<'_>) -> PyCall {
    step.call()
        .arg(Expr::List(args.inputs.iter().map(operand).collect()))
        .kwarg("dim", Expr::Int(-1))
        .kwarg("memory_config", memory_config(&args.memory))
}
