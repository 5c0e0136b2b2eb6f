//! Price of products by two-bit weights, from the loops of their kernels; no card has run them.
//!
//! Cores beside the DRAM banks stream the weights to the cores that multiply, while another core multicasts the activations to them, in the
//! order in which they are multiplied. Nobody waits for room. So the time is the longest of the three, and what the last block takes after the
//! longest has ended:
//! - streaming, then multiplying the last block;
//! - sending the activations, then multiplying the last block;
//! - streaming the first block, then multiplying everything.
//!
//! | term | constant | source |
//! |---|---|---|
//! | start, streaming | start and bank bandwidth of a DRAM-sharded matmul | fitted to such matmuls of TT-NN; its microbenchmark that also writes what it reads to other cores (`test_dram_read_l1_write_core`) makes 226, 232, 244 and 255 GB/s of 2.5, 3.3, 4.4 and 8.8 MB on Wormhole, which is 1.8 us and 269 GB/s |
//! | streaming by one core on Blackhole | 35 GB/s | one reader per bank makes 55 % of DRAM's bandwidth, two 90 % (tt-metal issue 54242) |
//! | sending | 32 bytes a cycle into a core, 64 on Blackhole, but no less than 90 cycles a shard and 70 a multicast | width of a NoC link, Tenstorrent's ISA documentation; instructions counted in the loop of the kernel |
//! | multiplying | cycles of a tile, as in DRAM-sharded matmuls | fitted to matmuls of TT-NN |
//! | unpacking | 16 bytes a cycle: two-bit formats are unpacked at the lowest rate | Tenstorrent's functional simulator and ISA documentation |

use bitnetc_plan::{Arch, Bound, ComputeKernel, Cores, DType, MemoryConfig, TILE, TensorSpec, TernaryProgram, op};

use super::laws::tile_cycles;
use super::{Kernel, Priced};

/// Bytes of codes that the unpacker takes a cycle.
const UNPACKED_BYTES: f64 = 16.0;

/// Cycles that the core which sends the activations takes to ask for a shard, and to multicast some.
const SHARD_CYCLES: f64 = 90.0;
const MULTICAST_CYCLES: f64 = 70.0;

/// Tiles that are multicast at once, or a shard's if it has more.
const MULTICAST_TILES: f64 = 8.0;

/// Bytes that a link of the NoC carries a cycle.
const fn link_bytes(arch: Arch) -> f64 {
    match arch {
        Arch::Wormhole => 32.0,
        Arch::Blackhole => 64.0,
    }
}

/// GB/s that one core can read from its bank.
const fn reader_gb_per_s(arch: Arch) -> f64 {
    match arch {
        Arch::Wormhole => f64::INFINITY,
        Arch::Blackhole => 35.2,
    }
}

pub fn kernel(args: &op::TernaryLinear, priced: &Priced<'_>) -> Kernel {
    let call = Call { program: &args.program, compute: args.compute, memory: &args.memory, after: 0.0 };
    call.kernel(priced.operands[0], &priced.operands[1..], priced)
}

/// What the price of such a program depends on besides its operands.
pub struct Call<'a> {
    /// How it is cut.
    pub program: &'a TernaryProgram,
    /// Fidelity.
    pub compute: ComputeKernel,
    /// Shards of the result.
    pub memory: &'a MemoryConfig,
    /// Cycles for each column tile of the result after all products.
    pub after: f64,
}

impl Call<'_> {
    /// The kernel of products of `a` by `weights` of one shape.
    pub fn kernel(&self, a: &TensorSpec, weights: &[&TensorSpec], priced: &Priced<'_>) -> Kernel {
        let c = priced.constants();
        let card = priced.machine.card;
        let us = |cycles: f64| cycles / (c.clock_ghz * 1000.0);
        let inner = f64::from(a.columns().div_ceil(TILE));
        let tiles: f64 = weights.iter().map(|weight| weight.tile_columns() as f64).sum();

        let bank_gb_per_s =
            c.dram_sharded.bank_gb_per_s.min(f64::from(self.program.readers) * reader_gb_per_s(card.arch));
        let in_a_bank: f64 =
            weights.iter().map(|w| (w.tile_columns() as f64 / f64::from(card.dram.banks)).ceil()).sum();
        let stream = in_a_bank * inner * DType::Bfp2.tile_bytes() as f64 / (bank_gb_per_s * 1000.0);

        let shards = f64::from(a.memory.l1_cores().map_or(1, Cores::len));
        let multicasts = shards.min(inner / MULTICAST_TILES);
        let asked = shards * SHARD_CYCLES + multicasts * MULTICAST_CYCLES;
        let send = us(asked.max(inner * a.dtype.tile_bytes() as f64 / link_bytes(card.arch)));

        let cores = f64::from(self.memory.l1_cores().map_or(1, Cores::len));
        let columns = (tiles / cores).ceil();
        let unpack = DType::Bfp2.tile_bytes() as f64 / UNPACKED_BYTES;
        // As in a DRAM-sharded matmul, a tile of the weight is used once, so what surrounds the multiplication is not hidden.
        let tile = tile_cycles(c, self.compute.fidelity) - c.fpu.tile_cycles + c.dram_sharded.tile_cycles;
        let cycles = inner * columns * tile.max(unpack);
        let multiply = us(cycles);

        let blocks = (inner / f64::from(self.program.in0_block_w)).max(1.0);
        let last = multiply / blocks;
        let ends = [
            (stream + last, Bound::Dram),
            (send + last, Bound::Movement),
            (stream / blocks + multiply, Bound::Compute),
        ];
        let longest = |most: (f64, Bound), end: (f64, Bound)| if end.0 > most.0 { end } else { most };
        let (time, bound) = ends.into_iter().fold((0.0, Bound::Dram), longest);
        let after = us(self.after * columns / weights.len().max(1) as f64);
        Kernel { us: c.dram_sharded.start_us + time + after, fpu_cycles: cycles, bound }
    }
}
