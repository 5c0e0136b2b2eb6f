//! `ttnn.experimental.nlp_create_qkv_heads`.

use bitnetc_plan::op::CreateHeads;

use super::Lowering;
use crate::call::PyCall;
use crate::tensor::memory_config;

pub fn lower(args: &CreateHeads, step: &Lowering<'_>) -> PyCall {
    step.on(&args.input)
        .kwarg("num_heads", args.heads)
        .kwarg("num_kv_heads", args.kv_heads)
        .kwarg("transpose_k_heads", false)
        .kwarg("memory_config", memory_config(&args.memory))
}
