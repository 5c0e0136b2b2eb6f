//! `ttnn.experimental.rotary_embedding_llama` of a prompt.

use bitnetc_plan::op::Rotary;

use super::{Lowering, config, operand};
use crate::call::PyCall;
use crate::tensor::memory_config;

pub fn lower(args: &Rotary, step: &Lowering<'_>) -> PyCall {
    step.on(&args.input)
        .arg(operand(&args.cos))
        .arg(operand(&args.sin))
        .arg(operand(&args.trans))
        .kwarg("is_decode_mode", false)
        .kwarg("memory_config", memory_config(&args.memory))
        .kwarg("compute_kernel_config", config::compute(args.compute))
}
