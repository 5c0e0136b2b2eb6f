//! Program configs and compute kernel configs as calls of their constructors.

use bitnetc_plan::program::{FusedActivation, NormProgram, SdpaProgram};
use bitnetc_plan::{ComputeKernel, MatmulProgram};

use crate::call::{Expr, PyCall};

/// The config both chip families take.
pub fn compute(kernel: ComputeKernel) -> Expr {
    PyCall::ttnn("WormholeComputeKernelConfig")
        .kwarg("math_fidelity", Expr::ttnn(format!("MathFidelity.{}", kernel.fidelity)))
        .kwarg("math_approx_mode", false)
        .kwarg("fp32_dest_acc_en", kernel.fp32_dest_acc)
        .kwarg("packer_l1_acc", kernel.packer_l1_acc)
        .into()
}

fn core_coord((x, y): (u32, u32)) -> Expr {
    PyCall::ttnn("CoreCoord").arg(x).arg(y).into()
}

fn pair((x, y): (u32, u32)) -> Expr {
    Expr::Tuple(vec![x.into(), y.into()])
}

/// `ttnn.LayerNormShardedMultiCoreProgramConfig`.
pub fn norm(program: &NormProgram) -> Expr {
    PyCall::ttnn("LayerNormShardedMultiCoreProgramConfig")
        .kwarg("compute_with_storage_grid_size", pair(program.grid))
        .kwarg("subblock_w", program.subblock_w)
        .kwarg("block_h", program.block_h)
        .kwarg("block_w", program.block_w)
        .kwarg("inplace", false)
        .into()
}

/// `ttnn.SDPAProgramConfig`.
pub fn sdpa(program: &SdpaProgram) -> Expr {
    PyCall::ttnn("SDPAProgramConfig")
        .kwarg("compute_with_storage_grid_size", pair(program.grid))
        .kwarg("q_chunk_size", program.q_chunk)
        .kwarg("k_chunk_size", program.k_chunk)
        .kwarg("exp_approx_mode", false)
        .into()
}

fn activation(activation: Option<FusedActivation>) -> Expr {
    match activation {
        None => Expr::None,
        Some(FusedActivation::Relu) => PyCall::ttnn("UnaryWithParam").arg(Expr::ttnn("UnaryOpType.RELU")).into(),
        Some(FusedActivation::Silu) => PyCall::ttnn("UnaryWithParam").arg(Expr::ttnn("UnaryOpType.SILU")).into(),
    }
}

/// The program config of a matmul.
pub fn matmul(program: &MatmulProgram) -> Expr {
    match program {
        MatmulProgram::DramSharded { in0_block_w, per_core_m, per_core_n, activation: function, readers } => {
            PyCall::ttnn("MatmulMultiCoreReuseMultiCastDRAMShardedProgramConfig")
                .kwarg("in0_block_w", *in0_block_w)
                .kwarg("per_core_M", *per_core_m)
                .kwarg("per_core_N", *per_core_n)
                .kwarg("fused_activation", activation(*function))
                // Wormhole's default is the only number it takes.
                .maybe("num_workers_per_dram_bank", (*readers > 1).then_some(*readers))
                .into()
        }
        MatmulProgram::Multicast1D {
            grid,
            in0_block_w,
            out_subblock,
            per_core_m,
            per_core_n,
            activation: function,
        } => PyCall::ttnn("MatmulMultiCoreReuseMultiCast1DProgramConfig")
            .kwarg("compute_with_storage_grid_size", core_coord(*grid))
            .kwarg("in0_block_w", *in0_block_w)
            .kwarg("out_subblock_h", out_subblock.0)
            .kwarg("out_subblock_w", out_subblock.1)
            .kwarg("per_core_M", *per_core_m)
            .kwarg("per_core_N", *per_core_n)
            .kwarg("fuse_batch", true)
            .kwarg("fused_activation", activation(*function))
            .kwarg("mcast_in0", true)
            .into(),
        MatmulProgram::Multicast2D {
            grid,
            in0_block_w,
            out_subblock,
            out_block,
            per_core_m,
            per_core_n,
            activation: function,
        } => PyCall::ttnn("MatmulMultiCoreReuseMultiCastProgramConfig")
            .kwarg("compute_with_storage_grid_size", core_coord(*grid))
            .kwarg("in0_block_w", *in0_block_w)
            .kwarg("out_subblock_h", out_subblock.0)
            .kwarg("out_subblock_w", out_subblock.1)
            .kwarg("out_block_h", out_block.0)
            .kwarg("out_block_w", out_block.1)
            .kwarg("per_core_M", *per_core_m)
            .kwarg("per_core_N", *per_core_n)
            .kwarg("transpose_mcast", false)
            .kwarg("fused_activation", activation(*function))
            .kwarg("fuse_batch", true)
            .into(),
    }
}
