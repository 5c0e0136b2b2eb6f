//! `ttnn.to_memory_config`.

use bitnetc_plan::op::ToMemoryConfig;

use super::Lowering;
use crate::call::PyCall;
use crate::tensor::memory_config;

pub fn lower(args: &ToMemoryConfig, step: &Lowering<'_>) -> PyCall {
    step.on(&args.input).arg(memory_config(&args.memory))
}
