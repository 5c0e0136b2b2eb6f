//! `ttnn.transformer.paged_scaled_dot_product_attention_decode`.

use bitnetc_plan::op::SdpaDecode;

use super::{Lowering, config, operand};
use crate::call::PyCall;
use crate::tensor::memory_config;

pub fn lower(args: &SdpaDecode, step: &Lowering<'_>) -> PyCall {
    step.on(&args.q)
        .arg(operand(&args.k_cache))
        .arg(operand(&args.v_cache))
        .kwarg("page_table_tensor", operand(&args.page_table))
        .kwarg("cur_pos_tensor", operand(&args.positions))
        .kwarg("scale", step.scalar(0, &args.scale))
        .kwarg("program_config", config::sdpa(&args.program))
        .kwarg("compute_kernel_config", config::compute(args.compute))
        .kwarg("memory_config", memory_config(&args.memory))
}
