//! `ttnn.linear`.

use bitnetc_plan::MemoryConfig;
use bitnetc_plan::op::Matmul;

use super::{Lowering, config, dtype, operand};
use crate::call::{Expr, PyCall};
use crate::tensor::memory_config;

pub fn lower(args: &Matmul, step: &Lowering<'_>) -> PyCall {
    // TT-NN derives the shards of a sharded result from the program config and ignores a shard spec.
    let memory = match &args.memory {
        MemoryConfig::Sharded { .. } => Expr::ttnn("L1_WIDTH_SHARDED_MEMORY_CONFIG"),
        interleaved @ MemoryConfig::Interleaved(_) => memory_config(interleaved),
    };
    step.on(&args.a)
        .arg(operand(&args.b))
        .kwarg("program_config", config::matmul(&args.program))
        .kwarg("memory_config", memory)
        .kwarg("dtype", dtype(args.dtype))
        .kwarg("compute_kernel_config", config::compute(args.compute))
}
