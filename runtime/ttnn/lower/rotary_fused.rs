//! `ttnn.experimental.rotary_embedding_llama_fused_qk`.

use bitnetc_plan::op::RotaryFused;

use super::{Lowering, config, operand};
use crate::call::PyCall;

pub fn lower(args: &RotaryFused, step: &Lowering<'_>) -> PyCall {
    step.on(&args.q)
        .arg(operand(&args.k))
        .arg(operand(&args.cos))
        .arg(operand(&args.sin))
        .arg(operand(&args.trans))
        .kwarg("compute_kernel_config", config::compute(args.compute))
}
