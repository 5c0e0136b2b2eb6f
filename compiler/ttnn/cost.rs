//! The cost model: predicted time of each call from the calibrated constants of a target.
//!
//! `time = max(kernel + launch, period)`; the kernel's time by op family:
//! - DRAM-sharded matmul: `start + blocks * max(block_floor, block + in0_block_w * max(read, compute))` per tile of K, where a bank's
//!   columns are read at the bank's bandwidth and multiplied by its readers; of blocks longer than those of the fit the first is read
//!   and the last multiplied alone;
//! - 2D matmul: `start + max(compute, read) + unhidden * min(compute, read)`, and a start for each K-block more than the fit's;
//! - norm: `start + per_1000 * width / 1000` for one tile of rows, reading and writing DRAM for more; norms and elementwise work pay for
//!   the tiles of a core one after another;
//! - attention: the busiest core's chunks of keys or the bytes all cores read, whichever is longer (`cost/attention.rs`), at the position asked
//!   in decode;
//! - everything else: a measured time for one tile of rows, or bytes over the interleaved bandwidth.

mod attention;
mod traffic;

use std::iter::Sum;
use std::ops::Add;

use bitnetc_plan::op;
use bitnetc_plan::ttnn::Outcome;
use bitnetc_plan::{Bound, Cost, Fidelity, MatmulProgram, Op, TILE, TensorSpec};

use super::Context;
use crate::target::Calibration;
pub use traffic::data_bytes;

/// Predicted time in whole nanoseconds, so that sums do not depend on their order. Ordered by time, then by
/// the work of the kernels, then by the cores left idle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price {
    /// Launches and shortest periods included.
    pub ns: u64,
    /// Work of matrix units and DRAM alone; decides between ways that launching makes equal.
    pub work: u64,
    /// Cores that attention gives nothing to do at any position: of two ways as good at the position asked, the other is better later.
    pub idle: u64,
}

impl Price {
    /// The price of a predicted cost.
    pub fn of(cost: &Cost) -> Self {
        Price { ns: (cost.us * 1000.0).round() as u64, work: cost.fpu_cycles + cost.dram_bytes, idle: 0 }
    }

    /// The price of a call of this predicted cost.
    pub fn of_call(op: &Op, operands: &[&TensorSpec], cost: &Cost, cx: &Context<'_>) -> Self {
        let idle = match op {
            Op::SdpaDecode(args) => attention::idle(args, operands, cx.target.card.cores()),
            _ => 0,
        };
        Price { idle: u64::from(idle), ..Price::of(cost) }
    }

    /// What is left without a part of it.
    pub fn without(self, part: Price) -> Self {
        let Price { ns, work, idle } = part;
        Price {
            ns: self.ns.saturating_sub(ns),
            work: self.work.saturating_sub(work),
            idle: self.idle.saturating_sub(idle),
        }
    }

    /// The price `times` over.
    pub fn times(self, times: u64) -> Self {
        Price { ns: self.ns * times, work: self.work * times, idle: self.idle * times }
    }

    /// In microseconds.
    pub fn us(self) -> f64 {
        self.ns as f64 / 1000.0
    }
}

impl Add for Price {
    type Output = Price;

    fn add(self, other: Price) -> Price {
        Price { ns: self.ns + other.ns, work: self.work + other.work, idle: self.idle + other.idle }
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
    let bytes = traffic::dram(op, operands, outcome, cx.position);
    let kernel = kernel(op, operands, cx, bytes);
    let launched = kernel.us + c.launch_us;
    let bound = if launched < c.period_us { Bound::Launch } else { kernel.bound };
    let us = launched.max(c.period_us) + f64::from(outcome.programs - 1) * c.period_us;
    // Nanoseconds are finer than the model.
    Cost { us: (us * 1000.0).round() / 1000.0, dram_bytes: bytes, fpu_cycles: kernel.fpu_cycles.round() as u64, bound }
}

/// Predicted cost of a call of one program that nobody has called legal, its results left out: a lower bound.
pub fn unchecked(op: &Op, operands: &[&TensorSpec], cx: &Context<'_>) -> Cost {
    cost(op, operands, &Outcome { programs: 1, ..Outcome::default() }, cx)
}

fn kernel(op: &Op, operands: &[&TensorSpec], cx: &Context<'_>, bytes: u64) -> Kernel {
    let c = &cx.target.cost;
    let m = &c.movement;
    let streamed = bytes as f64 / (m.interleaved_gb_per_s * 1000.0);
    match op {
        Op::Matmul(args) => matmul(args, operands, c, cx.target.card.dram.banks, bytes),
        Op::RmsNorm(_) => Kernel::moves(norm(operands[0], cx).max(streamed)),
        Op::SdpaDecode(args) => attention::decode(args, operands, c, cx.position, bytes),
        Op::Sdpa(args) => attention::prefill(args, operands, c, streamed),
        Op::CreateHeadsDecode(_) | Op::CreateHeads(_) => Kernel::moves(m.create_heads_us.max(streamed)),
        Op::RotaryFused(_) | Op::RotaryDecode(_) | Op::Rotary(_) => Kernel::moves(m.rotary_us.max(streamed)),
        Op::CacheUpdate(_) | Op::CacheUpdateOne(_) | Op::CacheFill(_) => Kernel::moves(m.cache_update_us.max(streamed)),
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

/// What few cores cost: a core works on its tiles one after another. The slope is that of norms, for want of others.
fn crowding(spec: &TensorSpec, c: &Calibration) -> f64 {
    let tiles = spec.memory.shard().map_or(0, |[_, width]| width / TILE);
    c.norm.per_tile_us * f64::from(tiles.saturating_sub(c.norm.uncrowded_tiles))
}

/// What K-blocks shorter than the fit's, and outputs computed block by block, add: each block starts anew.
fn short_blocks(args: &op::Matmul, inner: f64, c: &Calibration) -> f64 {
    let passes = match &args.program {
        MatmulProgram::Multicast2D { out_block, per_core_m, .. } => per_core_m.div_ceil(out_block.0.max(1)),
        _ => 1,
    };
    let blocks = f64::from(passes) * inner / f64::from(args.program.in0_block_w().max(1));
    c.dram_sharded.block_us * (blocks - inner / f64::from(c.multicast.fitted_block)).max(0.0)
}

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
            let alone = f64::from(in0_block_w.saturating_sub(c.dram_sharded.fitted_block)) * read.min(compute);
            Kernel { us: time + alone, fpu_cycles: inner * per_reader * cycles, bound }
        }
        MatmulProgram::Multicast1D { per_core_m, per_core_n, .. }
        | MatmulProgram::Multicast2D { per_core_m, per_core_n, .. } => {
            let work = f64::from(per_core_m * per_core_n) * inner * cycles;
            let compute = us(work);
            let read = bytes as f64 / (c.multicast.gb_per_s * 1000.0);
            let bound = if compute > read { Bound::Compute } else { Bound::Dram };
            let streamed = compute.max(read) + c.multicast.unhidden * compute.min(read);
            Kernel { us: c.multicast.start_us + streamed + short_blocks(args, inner, c), fpu_cycles: work, bound }
        }
    }
}

fn reshard(from: &TensorSpec, args: &op::ToMemoryConfig, c: &Calibration) -> f64 {
    match (from.memory.is_sharded(), args.memory.is_sharded()) {
        (true, true) => c.movement.reshard_us,
        (true, false) => c.movement.to_interleaved_us,
        (false, _) => c.movement.to_sharded_us,
    }
}
