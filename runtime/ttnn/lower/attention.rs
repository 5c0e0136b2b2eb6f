//! Heads, rotary embedding, KV cache, attention.

use bitnetc_plan::op;

use super::{config, on, operand};
use crate::call::{Expr, PyCall};
use crate::tensor::{core_range_set, memory_config};

pub fn create_heads_decode(path: &str, args: &op::CreateHeadsDecode) -> PyCall {
    on(path, &args.input)
        .kwarg("num_heads", args.heads)
        .kwarg("num_kv_heads", args.kv_heads)
        .kwarg("overlap_qk_coregrid", args.overlap)
        .kwarg("memory_config", memory_config(&args.memory))
}

pub fn create_heads(path: &str, args: &op::CreateHeads) -> PyCall {
    on(path, &args.input)
        .kwarg("num_heads", args.heads)
        .kwarg("num_kv_heads", args.kv_heads)
        .kwarg("transpose_k_heads", false)
        .kwarg("memory_config", memory_config(&args.memory))
}

pub fn rotary_fused(path: &str, args: &op::RotaryFused) -> PyCall {
    on(path, &args.q)
        .arg(operand(&args.k))
        .arg(operand(&args.cos))
        .arg(operand(&args.sin))
        .arg(operand(&args.trans))
        .kwarg("compute_kernel_config", config::compute(args.compute))
}

pub fn rotary_decode(path: &str, args: &op::RotaryDecode) -> PyCall {
    on(path, &args.input)
        .arg(operand(&args.cos))
        .arg(operand(&args.sin))
        .arg(operand(&args.trans))
        .kwarg("is_decode_mode", true)
        .kwarg("compute_kernel_config", config::compute(args.compute))
}

pub fn rotary(path: &str, args: &op::Rotary) -> PyCall {
    on(path, &args.input)
        .arg(operand(&args.cos))
        .arg(operand(&args.sin))
        .arg(operand(&args.trans))
        .kwarg("is_decode_mode", false)
        .kwarg("memory_config", memory_config(&args.memory))
        .kwarg("compute_kernel_config", config::compute(args.compute))
}

pub fn cache_update(path: &str, args: &op::CacheUpdate) -> PyCall {
    on(path, &args.k_cache)
        .arg(operand(&args.k))
        .arg(operand(&args.v_cache))
        .arg(operand(&args.v))
        .kwarg("update_idxs_tensor", operand(&args.positions))
        .kwarg("page_table", operand(&args.page_table))
}

pub fn cache_update_one(path: &str, args: &op::CacheUpdateOne) -> PyCall {
    on(path, &args.cache)
        .arg(operand(&args.input))
        .kwarg("update_idxs_tensor", operand(&args.positions))
        .kwarg("page_table", operand(&args.page_table))
}

pub fn cache_fill(path: &str, args: &op::CacheFill, user: Expr) -> PyCall {
    on(path, &args.cache).arg(operand(&args.input)).arg(operand(&args.page_table)).kwarg("batch_idx", user)
}

pub fn sdpa_decode(path: &str, args: &op::SdpaDecode, scale: Expr) -> PyCall {
    on(path, &args.q)
        .arg(operand(&args.k_cache))
        .arg(operand(&args.v_cache))
        .kwarg("page_table_tensor", operand(&args.page_table))
        .kwarg("cur_pos_tensor", operand(&args.positions))
        .kwarg("scale", scale)
        .kwarg("program_config", config::sdpa(&args.program))
        .kwarg("compute_kernel_config", config::compute(args.compute))
        .kwarg("memory_config", memory_config(&args.memory))
}

pub fn sdpa(path: &str, args: &op::Sdpa, scale: Expr) -> PyCall {
    on(path, &args.q)
        .arg(operand(&args.k))
        .arg(operand(&args.v))
        .kwarg("is_causal", true)
        .kwarg("scale", scale)
        .kwarg("program_config", config::sdpa(&args.program))
        .kwarg("compute_kernel_config", config::compute(args.compute))
        .kwarg("memory_config", memory_config(&args.memory))
}

pub fn concat_heads_decode(path: &str, args: &op::ConcatHeadsDecode) -> PyCall {
    on(path, &args.input).kwarg("num_heads", args.heads).kwarg("sub_core_grids", core_range_set(&args.cores))
}

pub fn concat_heads(path: &str, args: &op::ConcatHeads) -> PyCall {
    on(path, &args.input).kwarg("memory_config", memory_config(&args.memory))
}
