//! Price of a product by two-bit weights, from the loops of its kernels; no card has run them.
//!
//! A core reads blocks of codes, as many as its buffer holds until the first is multiplied, and meanwhile gathers the activations; it
//! multiplies when it has all of these. So the time is the longest of
//! - gathering, then multiplying everything;
//! - reading everything, then multiplying the last block;
//! - gathering, then reading what did not fit the buffer, then multiplying the last block.
//!
//! | term | constant | source |
//! |---|---|---|
//! | reading | interleaved DRAM bandwidth of the card | measured on calls of TT-NN, whose reads of a tile are shorter than a block of a column |
//! | gathering | 32 bytes a cycle into a core and out of one, 64 on Blackhole | width of a NoC link, Tenstorrent's ISA documentation |
//! | multiplying | cycles of a tile, as in DRAM-sharded matmuls | fitted to matmuls of TT-NN |
//! | unpacking | 16 bytes a cycle: two-bit formats are unpacked at the lowest rate | Tenstorrent's functional simulator and ISA documentation |
//! | start | that of a DRAM-sharded matmul | fitted to matmuls of TT-NN |

use bitnetc_plan::{Arch, Bound, DType, TILE, op};

use super::laws::tile_cycles;
use super::{Kernel, Priced};

/// Bytes of codes that the unpacker takes a cycle.
const UNPACKED_BYTES: f64 = 16.0;

/// Bytes that a link of the NoC carries a cycle.
const fn link_bytes(arch: Arch) -> f64 {
    match arch {
        Arch::Wormhole => 32.0,
        Arch::Blackhole => 64.0,
    }
}

pub fn kernel(args: &op::TernaryLinear, priced: &Priced<'_>) -> Kernel {
    let c = priced.constants();
    let (a, b) = (priced.operands[0], priced.operands[1]);
    let us = |cycles: f64| cycles / (c.clock_ghz * 1000.0);
    let inner = b.tile_rows() as f64;
    let cores = f64::from(args.memory.l1_cores().map_or(1, bitnetc_plan::Cores::len));
    let columns = f64::from(args.memory.shard().map_or(1, |[_, width]| width / TILE));
    let link = link_bytes(priced.machine.card.arch);
    let into_a_core = inner * a.dtype.tile_bytes() as f64;
    let held = f64::from(a.memory.shard().map_or(a.columns(), |[_, width]| width) / TILE);
    let out_of_a_core = held * a.dtype.tile_bytes() as f64 * cores;
    let gather = us(into_a_core.max(out_of_a_core) / link);
    let unpack = DType::Bfp2.tile_bytes() as f64 / UNPACKED_BYTES;
    // As in a DRAM-sharded matmul, a tile of the weight is used once, so what surrounds the multiplication is not hidden.
    let tile = tile_cycles(c, args.compute.fidelity) - c.fpu.tile_cycles + c.dram_sharded.tile_cycles;
    let cycles = inner * columns * tile.max(unpack);
    let compute = us(cycles);
    let read = priced.streamed();
    let blocks = inner / f64::from(args.program.in0_block_w);
    let waiting = read * (1.0 - f64::from(args.program.buffers) / blocks).max(0.0);
    let last = compute / blocks;
    let ends = [
        (gather + compute, if gather > compute { Bound::Movement } else { Bound::Compute }),
        (read + last, Bound::Dram),
        (gather + waiting + last, if gather > waiting { Bound::Movement } else { Bound::Dram }),
    ];
    let (time, bound) = ends.into_iter().fold((0.0, Bound::Dram), |most, end| if end.0 > most.0 { end } else { most });
    Kernel { us: c.dram_sharded.start_us + time, fpu_cycles: cycles, bound }
}
