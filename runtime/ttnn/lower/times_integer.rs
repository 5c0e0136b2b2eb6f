//! `ttnn.multiply` of integers by a number.

use bitnetc_plan::op::TimesInteger;

use super::Lowering;
use crate::call::PyCall;
use crate::tensor::memory_config;

pub fn lower(args: &TimesInteger, step: &Lowering<'_>) -> PyCall {
    step.on(&args.input).arg(args.factor).kwarg("memory_config", memory_config(&args.memory))
}
