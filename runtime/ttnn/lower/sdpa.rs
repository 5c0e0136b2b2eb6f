//! `ttnn.transformer.scaled_dot_product_attention`.

use bitnetc_plan::op::Sdpa;

use super::{Lowering, config, operand};
use crate::call::PyCall;
use crate::tensor::memory_config;

pub fn lower(args: &Sdpa, step: &Lowering<'_>) -> PyCall {
    step.on(&args.q)
        .arg(operand(&args.k))
        .arg(operand(&args.v))
        .kwarg("is_causal", true)
        .kwarg("scale", step.scalar(0, &args.scale))
        .kwarg("program_config", config::sdpa(&args.program))
        .kwarg("compute_kernel_config", config::compute(args.compute))
        .kwarg("memory_config", memory_config(&args.memory))
}
