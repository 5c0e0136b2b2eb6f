//! `ttnn.reshape` of rows.

use bitnetc_plan::op::Reshape;

use super::Lowering;
use crate::call::{Expr, PyCall};
use crate::tensor::memory_config;

pub fn lower(args: &Reshape, step: &Lowering<'_>) -> PyCall {
    let shape = Expr::Tuple(args.shape.iter().map(|&side| side.into()).collect());
    step.on(&args.input).arg(shape).kwarg("memory_config", memory_config(&args.memory))
}
