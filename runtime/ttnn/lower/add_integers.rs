//! `ttnn.add` of integers.

use bitnetc_plan::op::AddIntegers;

use super::{Lowering, operand};
use crate::call::PyCall;
use crate::tensor::memory_config;

pub fn lower(args: &AddIntegers, step: &Lowering<'_>) -> PyCall {
    step.on(&args.a).arg(operand(&args.b)).kwarg("memory_config", memory_config(&args.memory))
}
