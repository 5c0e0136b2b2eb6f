//! `ttnn.experimental.rotary_embedding_llama` of decode.

use bitnetc_plan::op::RotaryDecode;

use super::{Lowering, config, operand};
use crate::call::PyCall;

pub fn lower(args: &RotaryDecode, step: &Lowering<'_>) -> PyCall {
    step.on(&args.input)
        .arg(operand(&args.cos))
        .arg(operand(&args.sin))
        .arg(operand(&args.trans))
        .kwarg("is_decode_mode", true)
        .kwarg("compute_kernel_config", config::compute(args.compute))
}
