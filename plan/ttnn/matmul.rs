//! `ttnn.linear`: the constraints that every program config has in common. Each config has a file of its own.

mod blocks;
mod dram_sharded;
mod multicast_1d;
mod multicast_2d;

use blocks::Cut;
use dram_sharded::Readers;

use super::constraint::{constraints, values};
use super::{Answer, Checks, Outcome, require_placement};
use crate::op::Matmul;
use crate::ttnn::checks::operands;
use crate::{Card, DType, Layout, MatmulProgram, Memory, MemoryConfig, Strategy, TILE, TensorSpec};

constraints! { "matmul", "matmul_device_operation.cpp",
    also [matmul::dram_sharded, matmul::blocks, matmul::multicast_1d, matmul::multicast_2d, placement];
    TILED: "Both operands are tiled."
        => "Inputs to matmul must be tilized", "both operands in TILE layout";
    INNER: "The first operand is as wide as the second is high."
        => "The width of the first tensor must be equal to the height of the second tensor. Mismatch: width={width} height={height}",
           "a weight of {width} rows";
    TYPE: "Operands and result are of a float type."
        => "Unsupported data format", "bf16, bfp8, bfp4 or f32 operands";
    ONE_WEIGHT: "The second operand is a single matrix."
        => "matmul (batch bcast variant) expects input tensors of shapes BCMK*11KN=BCMN or equivalent",
           "a weight [1, 1, K, N]";
    RESULT_MEMORY: "The memory config is the one that follows from the program config."
        => "Mismatch between computed {computed} and provided {provided} mem config", "memory config {computed}";
}

/// Sizes in tiles, operands and card of one matmul.
pub(super) struct Problem<'a> {
    pub args: &'a Matmul,
    pub a: &'a TensorSpec,
    pub b: &'a TensorSpec,
    pub card: &'a Card,
    /// Row tiles of `a`, all leading dimensions fused.
    pub m: u32,
    /// Tiles of the inner dimension.
    pub k: u32,
    /// Column tiles of `b`.
    pub n: u32,
}

/// `[..,M,K] @ [1,1,K,N] -> [..,M,N]`; the result keeps the logical shape of `a`.
pub(super) fn check(args: &Matmul, given: &[&TensorSpec], card: &Card) -> Answer {
    let [a, b] = operands(given)?;
    let mut checks = Checks::new();
    checks.require(&TILED, a.layout == Layout::Tile && b.layout == Layout::Tile, values![]);
    checks.require(&INNER, a.columns() == b.rows(), values![width = a.columns(), height = b.rows()]);
    checks.require(&TYPE, is_float(a.dtype) && is_float(b.dtype) && is_float(args.dtype), values![]);
    checks.require(&ONE_WEIGHT, b.outer() == 1, values![]);
    checks.settle()?;
    let problem = Problem {
        args,
        a,
        b,
        card,
        m: u32::try_from(a.tile_rows()).unwrap_or(u32::MAX),
        k: a.columns().div_ceil(TILE),
        n: b.columns().div_ceil(TILE),
    };
    match args.program {
        MatmulProgram::DramSharded { in0_block_w, per_core_m, per_core_n, readers, activation: _ } => {
            dram_sharded::check(&problem, Readers { in0_block_w, per_core_m, per_core_n, readers }, checks)
        }
        MatmulProgram::Multicast1D { grid, in0_block_w, out_subblock, per_core_m, per_core_n, activation: _ } => {
            let per_core = (per_core_m, per_core_n);
            let cut = Cut { grid, in0_block_w, subblock: out_subblock, block: per_core, per_core };
            multicast_1d::check(&problem, &cut, checks)
        }
        MatmulProgram::Multicast2D {
            grid,
            in0_block_w,
            out_subblock,
            out_block,
            per_core_m,
            per_core_n,
            activation: _,
        } => {
            let per_core = (per_core_m, per_core_n);
            let cut = Cut { grid, in0_block_w, subblock: out_subblock, block: out_block, per_core };
            multicast_2d::check(&problem, &cut, checks)
        }
    }
}

const fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::Bf16 | DType::Bfp8 | DType::Bfp4 | DType::F32)
}

impl Problem<'_> {
    /// Bytes of the buffer for `out_tiles` of output and, unless both can share one, of the buffer for partial sums.
    ///
    /// Partial sums are fp32 with fp32 accumulation; otherwise bf16 when the packer accumulates in L1 over several blocks of K, and in the
    /// output's format when it does not.
    pub(super) fn output_bytes(&self, out_tiles: u64, blocks: u32) -> u64 {
        let out = self.args.dtype;
        let partial = match (self.args.compute.fp32_dest_acc, self.args.compute.packer_l1_acc && blocks > 1) {
            (true, _) => DType::F32,
            (false, true) => DType::Bf16,
            (false, false) => out,
        };
        out_tiles * (out.tile_bytes() + if partial == out { 0 } else { partial.tile_bytes() })
    }

    /// True for a weight spread over all DRAM banks in the narrowest shards.
    pub(super) fn weight_over_all_banks(&self) -> bool {
        let banks = self.card.dram.banks;
        match &self.b.memory {
            MemoryConfig::Sharded { memory: Memory::Dram, strategy: Strategy::Width, cores, shard } => {
                cores.as_rectangle() == Some((0, 0, banks, 1))
                    && *shard == [self.k * TILE, self.n.div_ceil(banks) * TILE]
            }
            _ => false,
        }
    }

    /// The answer with the result placed in `memory`, which must be what the step says.
    pub(super) fn finish(&self, memory: MemoryConfig, circular_buffers: u64, mut checks: Checks) -> Answer {
        checks.require(
            &RESULT_MEMORY,
            self.args.memory == memory,
            values![computed = memory, provided = self.args.memory],
        );
        let mut shape = self.a.shape.clone();
        if let Some(last) = shape.last_mut() {
            *last = self.b.columns();
        }
        let output = TensorSpec::tile(shape, self.args.dtype, memory);
        require_placement(&output, self.card, &mut checks);
        checks.finish(|| Outcome { outputs: vec![output], circular_buffers, temporaries: Vec::new(), programs: 1 })
    }
}
