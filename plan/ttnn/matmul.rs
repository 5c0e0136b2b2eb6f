//! `ttnn.linear`: what every program config has in common. Each config has a file of its own.

use super::matmul_dram_sharded::dram_sharded;
use super::matmul_multicast::{multicast_1d, multicast_2d};
use super::{Answer, Checks, Outcome, operands, require_placement};
use crate::op::Matmul;
use crate::{Card, DType, Layout, MatmulProgram, Memory, MemoryConfig, Strategy, TILE, TensorSpec};

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
///
/// # Errors
/// Every constraint of `matmul_device_operation.cpp` and of the config's program factory that the call breaks.
pub fn check_matmul(args: &Matmul, given: &[&TensorSpec], card: &Card) -> Answer {
    let [a, b] = operands(given)?;
    let mut checks = Checks::new();
    checks.require(
        a.layout == Layout::Tile && b.layout == Layout::Tile,
        format_args!("Inputs to matmul must be tilized"),
        format_args!("both operands in TILE layout"),
    );
    checks.require(
        a.columns() == b.rows(),
        format_args!(
            "The width of the first tensor must be equal to the height of the second tensor. Mismatch: width={} height={}",
            a.columns(),
            b.rows()
        ),
        format_args!("a weight of {} rows", a.columns()),
    );
    checks.require(
        is_float(a.dtype) && is_float(b.dtype) && is_float(args.dtype),
        format_args!("Unsupported data format"),
        format_args!("bf16, bfp8, bfp4 or f32 operands"),
    );
    checks.require(
        b.outer() == 1,
        format_args!("matmul (batch bcast variant) expects input tensors of shapes BCMK*11KN=BCMN or equivalent"),
        format_args!("a weight [1, 1, K, N]"),
    );
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
    match &args.program {
        MatmulProgram::DramSharded { .. } => dram_sharded(&problem, checks),
        MatmulProgram::Multicast1D { .. } => multicast_1d(&problem, checks),
        MatmulProgram::Multicast2D { .. } => multicast_2d(&problem, checks),
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
            self.args.memory == memory,
            format_args!("Mismatch between computed {memory} and provided {} mem config", self.args.memory),
            format_args!("memory config {memory}"),
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
