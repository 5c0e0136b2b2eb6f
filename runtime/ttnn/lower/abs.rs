//! `ttnn.abs`.

use bitnetc_plan::op::AbsOp;

use super::Lowering;
use crate::call::PyCall;
use crate::tensor::memory_config;

pub fn lower(args: &AbsOp, step: &Lowering<'_>) -> PyCall {
    step.on(&args.input).kwarg("memory_config", memory_config(&args.memory))
}
