//! Price of a matrix product, by its program: DRAM-sharded, or multicast.

use bitnetc_plan::{Bound, MatmulProgram, op};

use super::laws::tile_cycles;
use super::{Kernel, Priced};
use crate::target::Calibration;

pub fn kernel(args: &op::Matmul, priced: &Priced<'_>) -> Kernel {
    let (operands, c, bytes) = (priced.operands, priced.constants(), priced.bytes);
    let banks = priced.machine.card.dram.banks;
    let inner = operands[1].tile_rows() as f64;
    let cycles = tile_cycles(c, args.compute.fidelity);
    let us = |cycles: f64| cycles / (c.clock_ghz * 1000.0);
    match &args.program {
        MatmulProgram::DramSharded { in0_block_w, readers, .. } => {
            let columns = (operands[1].tile_columns() as f64 / f64::from(banks)).ceil();
            let per_reader = (columns / f64::from(*readers)).ceil();
            let read = columns * operands[1].dtype.tile_bytes() as f64 / (c.dram_sharded.bank_gb_per_s * 1000.0);
            // A tile of the weight is used once here, so unpacking it is not hidden.
            let cycles = cycles - c.fpu.tile_cycles + c.dram_sharded.tile_cycles;
            let compute = us(per_reader * cycles);
            let blocks = inner / f64::from(*in0_block_w);
            let block = c.dram_sharded.block_us + f64::from(*in0_block_w) * read.max(compute);
            let bound = match () {
                () if block < c.dram_sharded.block_floor_us => Bound::Launch,
                () if compute > read => Bound::Compute,
                () => Bound::Dram,
            };
            let time = c.dram_sharded.start_us + blocks * block.max(c.dram_sharded.block_floor_us);
            // Reading and multiplying overlap, but not while the first block is read and the last one multiplied.
            let alone = f64::from(in0_block_w.saturating_sub(c.dram_sharded.fitted_block)) * read.min(compute);
            Kernel { us: time + alone, fpu_cycles: inner * per_reader * cycles, bound }
        }
        MatmulProgram::Multicast1D { per_core_m, per_core_n, .. } => {
            let m = &c.multicast_1d;
            let work = f64::from(per_core_m * per_core_n) * inner * cycles;
            let compute = us(work);
            let tiles = inner * operands[1].tile_columns() as f64;
            let read = (bytes as f64 / (m.gb_per_s * 1000.0)).max(tiles * m.tile_ns / 1000.0);
            let bound = if compute > read { Bound::Compute } else { Bound::Dram };
            let streamed = compute.max(read) + c.multicast.unhidden * compute.min(read);
            Kernel { us: m.start_us + streamed + short_blocks(args, inner, c), fpu_cycles: work, bound }
        }
        MatmulProgram::Multicast2D { per_core_m, per_core_n, .. } => {
            let work = f64::from(per_core_m * per_core_n) * inner * cycles;
            let compute = us(work);
            let read = bytes as f64 / (c.multicast.gb_per_s * 1000.0);
            let bound = if compute > read { Bound::Compute } else { Bound::Dram };
            let streamed = compute.max(read) + c.multicast.unhidden * compute.min(read);
            Kernel { us: c.multicast.start_us + streamed + short_blocks(args, inner, c), fpu_cycles: work, bound }
        }
    }
}

/// Microseconds that are added by K-blocks shorter than those of the fit, and by outputs that are computed block by block: every block has
/// a start of its own.
fn short_blocks(args: &op::Matmul, inner: f64, c: &Calibration) -> f64 {
    let passes = match &args.program {
        MatmulProgram::Multicast2D { out_block, per_core_m, .. } => per_core_m.div_ceil(out_block.0.max(1)),
        MatmulProgram::Multicast1D { .. } | MatmulProgram::DramSharded { .. } => 1,
    };
    let blocks = f64::from(passes) * inner / f64::from(args.program.in0_block_w().max(1));
    c.dram_sharded.block_us * (blocks - inner / f64::from(c.multicast.fitted_block)).max(0.0)
}
