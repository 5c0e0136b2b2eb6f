//! The configs that TT-NN takes beside tensors: how a call is cut over cores, and how its kernels calculate.

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::Scalar;

/// Math fidelity: how many phases the multiplier of the matrix unit runs, 16 cycles per tile each. A phase multiplies some bits of one
/// operand with some of the other; `bitnetc_numerics` computes with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Fidelity {
    /// One phase.
    LoFi,
    /// Two phases.
    HiFi2,
    /// Three phases.
    HiFi3,
    /// Four phases.
    HiFi4,
}

impl Fidelity {
    /// Number of multiplier phases.
    pub const fn phases(self) -> u32 {
        match self {
            Fidelity::LoFi => 1,
            Fidelity::HiFi2 => 2,
            Fidelity::HiFi3 => 3,
            Fidelity::HiFi4 => 4,
        }
    }
}

impl fmt::Display for Fidelity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// TT-NN's `WormholeComputeKernelConfig` (used on Blackhole too); `math_approx_mode` is always false.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ComputeKernel {
    /// Multiplier phases.
    pub fidelity: Fidelity,
    /// Sums in fp32 instead of bf16 in the destination register.
    pub fp32_dest_acc: bool,
    /// Partial sums of K-blocks are added in L1 by the packer.
    pub packer_l1_acc: bool,
}

/// The kernels of bitnetc's own that a call was made for: [`crate::kernels::Kernels::fingerprint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Fingerprint(pub u32);

/// An elementwise function fused into another op, applied in the order written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Unary {
    /// `max(x, 0)`.
    Relu,
    /// `x * x`.
    Square,
    /// `x * sigmoid(x)`.
    Silu,
    /// `1 / x`.
    Recip,
    /// `x * s` (`MUL_UNARY_SFPU`).
    MulScalar(Scalar),
    /// `max(x, s)` (`MAXIMUM`).
    MaxScalar(Scalar),
    /// Round half to even, to an integer (`ROUND` with 0 decimals).
    Round,
    /// Clamp to `[low, high]` (`CLAMP_TSS`).
    Clamp(f32, f32),
    /// `|x|`.
    Abs,
    /// `x` to a power above 1 (`POWER_ITERATIVE`).
    Power(u32),
}

impl Unary {
    /// The number that may depend on weight scales.
    pub const fn scalar(&self) -> Option<&Scalar> {
        match self {
            Unary::MulScalar(scalar) | Unary::MaxScalar(scalar) => Some(scalar),
            Unary::Relu | Unary::Square | Unary::Silu | Unary::Recip | Unary::Round => None,
            Unary::Clamp(..) | Unary::Abs | Unary::Power(_) => None,
        }
    }

    /// The number of [`Unary::scalar`], to evaluate it.
    pub const fn scalar_mut(&mut self) -> Option<&mut Scalar> {
        match self {
            Unary::MulScalar(scalar) | Unary::MaxScalar(scalar) => Some(scalar),
            Unary::Relu | Unary::Square | Unary::Silu | Unary::Recip | Unary::Round => None,
            Unary::Clamp(..) | Unary::Abs | Unary::Power(_) => None,
        }
    }
}

/// How a matmul is cut over cores.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum MatmulProgram {
    /// `MatmulMultiCoreReuseMultiCastDRAMShardedProgramConfig`: each DRAM bank's columns computed next to the bank; one tile of rows.
    DramSharded {
        /// K tiles per block.
        in0_block_w: u32,
        /// Tiles of rows per core; always 1.
        per_core_m: u32,
        /// Column tiles per output shard.
        per_core_n: u32,
        /// Applied to the result.
        activation: Option<FusedActivation>,
        /// `num_workers_per_dram_bank`; 1 on Wormhole.
        readers: u32,
    },
    /// `MatmulMultiCoreReuseMultiCast1DProgramConfig` with `mcast_in0 = true`: columns over cores, weight interleaved.
    Multicast1D {
        /// Columns and rows of the grid it computes on.
        grid: (u32, u32),
        /// K tiles per block.
        in0_block_w: u32,
        /// Subblock of the output held in the destination register: rows, columns in tiles.
        out_subblock: (u32, u32),
        /// Row tiles per core.
        per_core_m: u32,
        /// Column tiles per core.
        per_core_n: u32,
        /// Applied to the result.
        activation: Option<FusedActivation>,
    },
    /// `MatmulMultiCoreReuseMultiCastProgramConfig`: rows over grid rows, columns over grid columns.
    Multicast2D {
        /// Columns and rows of the grid it computes on.
        grid: (u32, u32),
        /// K tiles per block.
        in0_block_w: u32,
        /// Subblock of the output held in the destination register: rows, columns in tiles.
        out_subblock: (u32, u32),
        /// Block of the output kept in L1: rows, columns in tiles.
        out_block: (u32, u32),
        /// Row tiles per core.
        per_core_m: u32,
        /// Column tiles per core.
        per_core_n: u32,
        /// Applied to the result.
        activation: Option<FusedActivation>,
    },
}

impl MatmulProgram {
    /// K tiles per block.
    pub const fn in0_block_w(&self) -> u32 {
        match self {
            MatmulProgram::DramSharded { in0_block_w, .. }
            | MatmulProgram::Multicast1D { in0_block_w, .. }
            | MatmulProgram::Multicast2D { in0_block_w, .. } => *in0_block_w,
        }
    }

    /// The activation applied to the result.
    pub const fn activation(&self) -> Option<FusedActivation> {
        match self {
            MatmulProgram::DramSharded { activation, .. }
            | MatmulProgram::Multicast1D { activation, .. }
            | MatmulProgram::Multicast2D { activation, .. } => *activation,
        }
    }
}

/// How a product by two-bit weights is cut; the cores and their columns are those of the result's shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TernaryProgram {
    /// K tiles per block of weights: what is read and handed on at once of a column.
    pub in0_block_w: u32,
    /// Cores beside each DRAM bank that stream its weights.
    pub readers: u32,
    /// Applied to the result.
    pub activation: Option<FusedActivation>,
    /// The kernels that the plan was made for: [`crate::kernels::Kernels::fingerprint`].
    pub kernels: u32,
}

/// The activations a matmul program can apply to its result (TT-NN takes others, no BitNet needs them).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum FusedActivation {
    /// `max(x, 0)`.
    Relu,
    /// `x * sigmoid(x)`.
    Silu,
}

/// `LayerNormShardedMultiCoreProgramConfig`; `inplace` is always false.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NormProgram {
    /// Columns and rows of the grid.
    pub grid: (u32, u32),
    /// Tiles per subblock.
    pub subblock_w: u32,
    /// Row tiles per core.
    pub block_h: u32,
    /// Column tiles per core.
    pub block_w: u32,
}

/// `SDPAProgramConfig`; `exp_approx_mode` is always false.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SdpaProgram {
    /// Columns and rows of the grid.
    pub grid: (u32, u32),
    /// Rows of q per chunk; 0 in decode.
    pub q_chunk: u32,
    /// Rows of k and v per chunk.
    pub k_chunk: u32,
}
