//! `ttnn.experimental.nlp_create_qkv_heads_decode`.

use bitnetc_plan::op::CreateHeadsDecode;

use super::Lowering;
use crate::call::PyCall;
use crate::tensor::memory_config;

pub fn lower(args: &CreateHeadsDecode, step: &Lowering<'_>) -> PyCall {
    step.on(&args.input)
        .kwarg("num_heads", args.heads)
        .kwarg("num_kv_heads", args.kv_heads)
        .kwarg("overlap_qk_coregrid", args.overlap)
        .kwarg("memory_config", memory_config(&args.memory))
}
