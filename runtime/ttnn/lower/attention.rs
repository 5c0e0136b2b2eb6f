//! Heads, rotary embedding, KV cache, attention.

use bitnetc_plan::{Op, Scalar};

use super::{Open, config, on, operand};
use crate::call::{Expr, PyCall};
use crate::tensor::{core_range_set, memory_config};

/// The call of an operation of the attention block; of any other only its name.
pub fn call(path: &str, op: &Op, scalar: &dyn Fn(usize, &Scalar) -> Expr, open: &dyn Open) -> PyCall {
    match op {
        Op::CreateHeadsDecode(args) => on(path, &args.input)
            .kwarg("num_heads", args.heads)
            .kwarg("num_kv_heads", args.kv_heads)
            .kwarg("overlap_qk_coregrid", args.overlap)
            .kwarg("memory_config", memory_config(&args.memory)),
        Op::CreateHeads(args) => on(path, &args.input)
            .kwarg("num_heads", args.heads)
            .kwarg("num_kv_heads", args.kv_heads)
            .kwarg("transpose_k_heads", false)
            .kwarg("memory_config", memory_config(&args.memory)),
        Op::RotaryFused(args) => on(path, &args.q)
            .arg(operand(&args.k))
            .arg(operand(&args.cos))
            .arg(operand(&args.sin))
            .arg(operand(&args.trans))
            .kwarg("compute_kernel_config", config::compute(args.compute)),
        Op::RotaryDecode(args) => on(path, &args.input)
            .arg(operand(&args.cos))
            .arg(operand(&args.sin))
            .arg(operand(&args.trans))
            .kwarg("is_decode_mode", true)
            .kwarg("compute_kernel_config", config::compute(args.compute)),
        Op::Rotary(args) => on(path, &args.input)
            .arg(operand(&args.cos))
            .arg(operand(&args.sin))
            .arg(operand(&args.trans))
            .kwarg("is_decode_mode", false)
            .kwarg("memory_config", memory_config(&args.memory))
            .kwarg("compute_kernel_config", config::compute(args.compute)),
        Op::CacheUpdate(args) => on(path, &args.k_cache)
            .arg(operand(&args.k))
            .arg(operand(&args.v_cache))
            .arg(operand(&args.v))
            .kwarg("update_idxs_tensor", operand(&args.positions))
            .kwarg("page_table", operand(&args.page_table)),
        Op::CacheUpdateOne(args) => on(path, &args.cache)
            .arg(operand(&args.input))
            .kwarg("update_idxs_tensor", operand(&args.positions))
            .kwarg("page_table", operand(&args.page_table)),
        Op::CacheFill(args) => on(path, &args.cache)
            .arg(operand(&args.input))
            .arg(operand(&args.page_table))
            .kwarg("batch_idx", open.user()),
        Op::SdpaDecode(args) => on(path, &args.q)
            .arg(operand(&args.k_cache))
            .arg(operand(&args.v_cache))
            .kwarg("page_table_tensor", operand(&args.page_table))
            .kwarg("cur_pos_tensor", operand(&args.positions))
            .kwarg("scale", scalar(0, &args.scale))
            .kwarg("program_config", config::sdpa(&args.program))
            .kwarg("compute_kernel_config", config::compute(args.compute))
            .kwarg("memory_config", memory_config(&args.memory)),
        Op::Sdpa(args) => on(path, &args.q)
            .arg(operand(&args.k))
            .arg(operand(&args.v))
            .kwarg("is_causal", true)
            .kwarg("scale", scalar(0, &args.scale))
            .kwarg("program_config", config::sdpa(&args.program))
            .kwarg("compute_kernel_config", config::compute(args.compute))
            .kwarg("memory_config", memory_config(&args.memory)),
        Op::ConcatHeadsDecode(args) => {
            on(path, &args.input).kwarg("num_heads", args.heads).kwarg("sub_core_grids", core_range_set(&args.cores))
        }
        Op::ConcatHeads(args) => on(path, &args.input).kwarg("memory_config", memory_config(&args.memory)),
        other => PyCall::ttnn(other.call()),
    }
}
