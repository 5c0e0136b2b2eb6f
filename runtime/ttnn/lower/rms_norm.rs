//! `ttnn.rms_norm`.

use bitnetc_plan::op::RmsNorm;

use super::{Lowering, config, operand};
use crate::call::PyCall;
use crate::tensor::memory_config;

pub fn lower(args: &RmsNorm, step: &Lowering<'_>) -> PyCall {
    step.on(&args.input)
        .kwarg("epsilon", step.scalar(0, &args.epsilon))
        .kwarg("weight", operand(&args.gamma))
        .maybe("program_config", args.program.as_ref().map(config::norm))
        .kwarg("memory_config", memory_config(&args.memory))
        .kwarg("compute_kernel_config", config::compute(args.compute))
}
