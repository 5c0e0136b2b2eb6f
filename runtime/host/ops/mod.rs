//! The ops on the host, one file each, named as the variants of [`Op`].
//!
//! Each file has an `execute` that says which operands the op reads and what becomes of its result; [`Run`] knows how results get their
//! storage and their slots. What several ops share is beside this folder.

mod abs;
mod arg_max;
pub mod binary;
mod cache_fill;
mod cache_update;
mod cache_update_one;
mod concat;
mod concat_heads;
mod concat_heads_decode;
mod create_heads;
mod create_heads_decode;
mod deallocate;
mod embedding;
mod matmul;
mod plus_one;
mod rms_norm;
mod rotary;
mod rotary_decode;
mod rotary_fused;
mod row_max;
mod sdpa;
mod sdpa_decode;
mod slice;
mod to_layout;
mod to_memory_config;
mod transpose;
mod typecast;
mod view;

use bitnetc_plan::Op;

use super::run::Run;
use crate::DeviceError;

/// Executes the step of `run`.
pub fn execute(run: &mut Run<'_>) -> Result<(), DeviceError> {
    match &run.step.op {
        Op::Embedding(_) => embedding::execute(run),
        Op::RmsNorm(op) => rms_norm::execute(op, run),
        Op::Matmul(op) => matmul::execute(op, run),
        Op::CreateHeadsDecode(_) => create_heads_decode::execute(run),
        Op::CreateHeads(_) => create_heads::execute(run),
        Op::RotaryFused(op) => rotary_fused::execute(op, run),
        Op::RotaryDecode(op) => rotary_decode::execute(op, run),
        Op::Rotary(op) => rotary::execute(op, run),
        Op::CacheUpdate(_) => cache_update::execute(run),
        Op::CacheUpdateOne(_) => cache_update_one::execute(run),
        Op::CacheFill(_) => cache_fill::execute(run),
        Op::SdpaDecode(op) => sdpa_decode::execute(op, run),
        Op::Sdpa(op) => sdpa::execute(op, run),
        Op::ConcatHeadsDecode(_) => concat_heads_decode::execute(run),
        Op::ConcatHeads(_) => concat_heads::execute(run),
        Op::ToMemoryConfig(_) => to_memory_config::execute(run),
        Op::ToLayout(_) => to_layout::execute(run),
        Op::Typecast(_) => typecast::execute(run),
        Op::View(_) => view::execute(run),
        Op::Transpose(op) => transpose::execute(op, run),
        Op::Slice(op) => slice::execute(op, run),
        Op::Concat(_) => concat::execute(run),
        Op::Binary(op) => binary::execute(op, run),
        Op::Abs(_) => abs::execute(run),
        Op::RowMax(_) => row_max::execute(run),
        Op::ArgMax(_) => arg_max::execute(run),
        Op::PlusOne(_) => plus_one::execute(run),
        Op::Deallocate(_) => deallocate::execute(run),
    }
}
