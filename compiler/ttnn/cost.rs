//! The cost model: predicted time of each call from the calibrated constants of a target.
//!
//! `time = max(kernel + launch, period)`; the kernel's time by op family:
//! - DRAM-sharded matmul: `start + blocks * max(block_floor, block + in0_block_w * max(read, compute))` per tile of K, where a bank's
//!   columns are read at the bank's bandwidth and multiplied by its readers; of blocks longer than those of the fit the first is read
//!   and the last multiplied alone;
//! - 2D matmul: `start + max(compute, read) + min(compute, read) / 4`, and a start for each K-block more than the fit's;
//! - norm: `start + per_1000 * width / 1000` for one tile of rows, reading and writing DRAM for more; norms and elementwise work pay for
//!   the tiles of a core one after another;
//! - attention in decode: `start + cache bytes / bandwidth` at the position asked;
//! - everything else: a measured time for one tile of rows, or bytes over the interleaved bandwidth.

use std::iter::Sum;
use std::ops::Add;

use bitnetc_plan::op;
use bitnetc_plan::program::SdpaProgram;
use bitnetc_plan::ttnn::Outcome;
use bitnetc_plan::{Bound, Cost, Fidelity, MatmulProgram, Memory, Op, TILE, TensorSpec};

use super::Context;
use crate::target::Calibration;

/// Predicted time in whole nanoseconds, so that sums do not depend on their order. Ordered by time, then by the kernels' own time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price {
    /// Launches and shortest periods included.
    pub ns: u64,
    /// Work of matrix units and DRAM alone; decides between ways that launching makes equal.
    pub work: u64,
}

impl Price {
    /// The price of a predicted cost.
    pub fn of(cost: &Cost) -> Self {
        Price { ns: (cost.us * 1000.0).round() as u64, work: cost.fpu_cycles + cost.dram_bytes }
    }

    /// The price `times` over.
    pub fn times(self, times: u64) -> Self {
        Price { ns: self.ns * times, work: self.work * times }
    }

    /// In microseconds.
    pub fn us(self) -> f64 {
        self.ns as f64 / 1000.0
    }
}

impl Add for Price {
    type Output = Price;

    fn add(self, other: Price) -> Price {
        Price { ns: self.ns + other.ns, work: self.work + other.work }
    }
}

impl Sum for Price {
    fn sum<I: Iterator<Item = Price>>(prices: I) -> Price {
        prices.fold(Price::default(), Add::add)
    }
}

/// What a kernel takes, before launching.
struct Kernel {
    us: f64,
    fpu_cycles: f64,
    bound: Bound,
}

impl Kernel {
    fn moves(us: f64) -> Self {
        Kernel { us, fpu_cycles: 0.0, bound: Bound::Movement }
    }
}

/// Predicted cost of a legal call.
pub fn cost(op: &Op, operands: &[&TensorSpec], outcome: &Outcome, cx: &Context<'_>) -> Cost {
    if outcome.programs == 0 {
        return Cost::default();
    }
    let c = &cx.target.cost;
    let bytes = dram_traffic(op, operands, outcome, cx.position);
    let kernel = kernel(op, operands, cx, bytes);
    let launched = kernel.us + c.launch_us;
    let bound = if launched < c.period_us { Bound::Launch } else { kernel.bound };
    let us = launched.max(c.period_us) + f64::from(outcome.programs - 1) * c.period_us;
    // Nanoseconds are finer than the model.
    Cost { us: (us * 1000.0).round() / 1000.0, dram_bytes: bytes, fpu_cycles: kernel.fpu_cycles.round() as u64, bound }
}

fn kernel(op: &Op, operands: &[&TensorSpec], cx: &Context<'_>, bytes: u64) -> Kernel {
    let c = &cx.target.cost;
    let m = &c.movement;
    let streamed = bytes as f64 / (m.interleaved_gb_per_s * 1000.0);
    match op {
        Op::Matmul(args) => matmul(args, operands, c, cx.target.card.dram.banks, bytes),
        Op::RmsNorm(_) => Kernel::moves(norm(operands[0], cx).max(streamed)),
        Op::SdpaDecode(_) => Kernel {
            us: c.sdpa_decode.start_us + bytes as f64 / (c.sdpa_decode.gb_per_s * 1000.0),
            fpu_cycles: 0.0,
            bound: Bound::Dram,
        },
        Op::Sdpa(args) => sdpa(args, operands, c, streamed),
        Op::CreateHeadsDecode(_) | Op::CreateHeads(_) => Kernel::moves(m.create_heads_us.max(streamed)),
        Op::RotaryFused(_) | Op::RotaryDecode(_) | Op::Rotary(_) => Kernel::moves(m.rotary_us.max(streamed)),
        Op::CacheUpdate(_) | Op::CacheUpdateOne(_) => Kernel::moves(m.cache_update_us),
        Op::CacheFill(_) => Kernel::moves(m.cache_update_us.max(streamed)),
        Op::ConcatHeadsDecode(_) | Op::ConcatHeads(_) => Kernel::moves(m.concat_heads_us.max(streamed)),
        Op::ToMemoryConfig(args) => Kernel::moves(reshard(operands[0], args, c).max(streamed)),
        Op::Binary(args) => {
            let width = f64::from(operands[0].columns());
            let base = match args.kind {
                op::BinaryKind::Add => m.add_us,
                op::BinaryKind::Mul => m.multiply_us + m.multiply_per_7000_us * width / 7000.0,
            };
            Kernel::moves(base.max(streamed) + crowding(operands[0], c))
        }
        Op::Abs(_) | Op::RowMax(_) | Op::Typecast(_) => {
            let width = f64::from(operands[0].columns());
            Kernel::moves(
                (m.multiply_us + m.multiply_per_7000_us * width / 7000.0).max(streamed) + crowding(operands[0], c),
            )
        }
        Op::Embedding(_) => Kernel::moves(m.embedding_us.max(streamed)),
        Op::ToLayout(_) => Kernel::moves(m.untilize_us.max(streamed)),
        Op::ArgMax(_) => Kernel::moves(bytes as f64 / (m.argmax_gb_per_s * 1000.0)),
        Op::PlusOne(_) => Kernel::moves(m.plus_one_us),
        Op::View(_) | Op::Transpose(_) | Op::Slice(_) | Op::Concat(_) => Kernel::moves(m.reshard_us.max(streamed)),
        Op::Deallocate(_) => Kernel { us: 0.0, fpu_cycles: 0.0, bound: Bound::Launch },
    }
}

/// A sharded norm shares a row among cores; an interleaved one gives each core rows of its own.
fn norm(spec: &TensorSpec, cx: &Context<'_>) -> f64 {
    let n = &cx.target.cost.norm;
    if spec.memory.is_sharded() {
        return n.start_us + n.per_1000_us * f64::from(spec.columns()) / 1000.0 + crowding(spec, &cx.target.cost);
    }
    let rows = spec.tile_rows().div_ceil(u64::from(cx.target.card.cores()));
    n.start_us + n.interleaved_tile_us * (rows * spec.tile_columns()) as f64
}

/// Tiles of a core up to which norms and elementwise work were measured.
const UNCROWDED: u32 = 4;

/// What few cores cost: a core works on its tiles one after another. The slope is that of norms, for want of others.
fn crowding(spec: &TensorSpec, c: &Calibration) -> f64 {
    let tiles = spec.memory.shard().map_or(0, |[_, width]| width / TILE);
    c.norm.per_tile_us * f64::from(tiles.saturating_sub(UNCROWDED))
}

/// K-blocks of the matmuls that the fit rests on had up to this many tiles: what their first and last take is in `start`.
const FITTED_BLOCK: u32 = 10;

/// What K-blocks shorter than the fit's, and outputs computed block by block, add: each block starts anew.
fn short_blocks(args: &op::Matmul, inner: f64, c: &Calibration) -> f64 {
    let passes = match &args.program {
        MatmulProgram::Multicast2D { out_block, per_core_m, .. } => per_core_m.div_ceil(out_block.0.max(1)),
        _ => 1,
    };
    let blocks = f64::from(passes) * inner / f64::from(args.program.in0_block_w().max(1));
    c.dram_sharded.block_us * (blocks - inner / FITTED_BLOCK_2D).max(0.0)
}

/// Tiles of the K-blocks of the 2D matmuls that the fit rests on.
const FITTED_BLOCK_2D: f64 = 8.0;

/// Cycles of one 32x32x32 product.
fn tile_cycles(c: &Calibration, fidelity: Fidelity) -> f64 {
    c.fpu.tile_cycles + 16.0 * f64::from(fidelity.phases()) * c.fpu.phase_factor
}

fn matmul(args: &op::Matmul, operands: &[&TensorSpec], c: &Calibration, banks: u32, bytes: u64) -> Kernel {
    let inner = operands[1].tile_rows() as f64;
    let cycles = tile_cycles(c, args.compute.fidelity);
    let us = |cycles: f64| cycles / (c.clock_ghz * 1000.0);
    match &args.program {
        MatmulProgram::DramSharded { in0_block_w, readers, .. } => {
            let columns = (operands[1].tile_columns() as f64 / f64::from(banks)).ceil();
            let per_reader = (columns / f64::from(*readers)).ceil();
            let read = columns * operands[1].dtype.tile_bytes() as f64 / (c.dram_sharded.bank_gb_per_s * 1000.0);
            let compute = us(per_reader * cycles);
            let blocks = inner / f64::from(*in0_block_w);
            let block = c.dram_sharded.block_us + f64::from(*in0_block_w) * read.max(compute);
            let bound = match () {
                () if block < c.dram_sharded.block_floor_us => Bound::Launch,
                () if compute > read => Bound::Compute,
                () => Bound::Dram,
            };
            let time = c.dram_sharded.start_us + blocks * block.max(c.dram_sharded.block_floor_us);
            // The first block is read and the last multiplied with nothing beside them.
            let alone = f64::from(in0_block_w.saturating_sub(FITTED_BLOCK)) * read.min(compute);
            Kernel { us: time + alone, fpu_cycles: inner * per_reader * cycles, bound }
        }
        MatmulProgram::Multicast1D { per_core_m, per_core_n, .. }
        | MatmulProgram::Multicast2D { per_core_m, per_core_n, .. } => {
            let work = f64::from(per_core_m * per_core_n) * inner * cycles;
            let compute = us(work);
            let read = bytes as f64 / (c.multicast.gb_per_s * 1000.0);
            let bound = if compute > read { Bound::Compute } else { Bound::Dram };
            let streamed = compute.max(read) + compute.min(read) / 4.0;
            Kernel { us: c.multicast.start_us + streamed + short_blocks(args, inner, c), fpu_cycles: work, bound }
        }
    }
}

/// Causal attention over a prompt: half of all score and value products, over all cores.
fn sdpa(args: &op::Sdpa, operands: &[&TensorSpec], c: &Calibration, streamed: f64) -> Kernel {
    let SdpaProgram { grid, .. } = args.program;
    let rows = f64::from(operands[0].rows().div_ceil(TILE));
    let heads = f64::from(operands[0].shape[1]);
    let products = heads * rows * (rows + 1.0) * operands[0].tile_columns() as f64;
    let work = products / f64::from(grid.0 * grid.1) * tile_cycles(c, args.compute.fidelity);
    let compute = work / (c.clock_ghz * 1000.0);
    let bound = if compute > streamed { Bound::Compute } else { Bound::Dram };
    Kernel { us: c.sdpa_decode.start_us + compute.max(streamed), fpu_cycles: work, bound }
}

fn reshard(from: &TensorSpec, args: &op::ToMemoryConfig, c: &Calibration) -> f64 {
    match (from.memory.is_sharded(), args.memory.is_sharded()) {
        (true, true) => c.movement.reshard_us,
        (true, false) => c.movement.to_interleaved_us,
        (false, _) => c.movement.to_sharded_us,
    }
}

/// Bytes of a tensor's data, padding included.
pub fn data_bytes(spec: &TensorSpec) -> u64 {
    match spec.layout {
        bitnetc_plan::Layout::Tile => spec.tile_rows() * spec.tile_columns() * spec.dtype.tile_bytes(),
        bitnetc_plan::Layout::RowMajor => {
            spec.outer() * u64::from(spec.rows()) * u64::from(spec.columns()) * spec.dtype.element_bytes().unwrap_or(2)
        }
    }
}

/// Bytes a call reads from and writes to DRAM.
fn dram_traffic(op: &Op, operands: &[&TensorSpec], outcome: &Outcome, position: u32) -> u64 {
    let in_dram = |spec: &&&TensorSpec| spec.memory.memory() == Memory::Dram;
    let written: u64 = outcome.outputs.iter().filter(|s| s.memory.memory() == Memory::Dram).map(data_bytes).sum();
    let read: u64 = match op {
        // Only the rows looked up.
        Op::Embedding(_) => outcome.outputs.iter().map(data_bytes).sum(),
        Op::CacheUpdate(_) | Op::CacheUpdateOne(_) => {
            operands[1..].iter().filter(in_dram).take(1).map(|s| data_bytes(s)).sum()
        }
        Op::CacheFill(_) => 2 * data_bytes(operands[1]),
        Op::SdpaDecode(args) => {
            let chunk = args.program.k_chunk.max(TILE);
            let tokens = u64::from((position + 1).next_multiple_of(chunk));
            let cache = operands[1];
            let rows = tokens * u64::from(cache.shape[1]) * u64::from(operands[0].shape[1]);
            2 * rows * u64::from(cache.columns()) / u64::from(TILE * TILE) * cache.dtype.tile_bytes()
        }
        Op::Slice(_) => written.max(outcome.outputs.iter().map(data_bytes).sum()),
        _ => operands.iter().filter(in_dram).map(|s| data_bytes(s)).sum(),
    };
    read + written
}
