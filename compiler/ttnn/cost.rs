//! The cost model predicts the time of each call from the calibrated constants of a target. The formula of each op is in the file of its
//! name.
//!
//! `time = max(kernel + launch, period)`; the kernel's time by op family:
//! - DRAM-sharded matmul: `start + blocks * max(block_floor, block + in0_block_w * max(read, compute))`, where reading and computing are
//!   per tile of K: a bank's columns are read at the bank's bandwidth and multiplied by its readers. Where blocks are longer than those of
//!   the fit, the first is read and the last multiplied with nothing beside it;
//! - 2D matmul: `start + max(compute, read) + unhidden * min(compute, read)`, and a start for each K-block beyond the number in the fit;
//! - product by two-bit weights: reading, gathering and multiplying side by side (`ternary_linear`);
//! - norm: `start + per_1000 * width / 1000` for one tile of rows, and the time of reading and writing DRAM for more. The tiles of a core
//!   take their time one after another, in norms and in elementwise work;
//! - attention: the busiest core's chunks of keys or the bytes that all cores read, whichever takes longer (`attention`); in decode at the
//!   position asked for;
//! - everything else: a measured time for one tile of rows, or the bytes over the interleaved bandwidth.

mod abs;
mod arg_max;
mod attention;
mod binary;
mod cache_fill;
mod cache_update;
mod cache_update_one;
mod concat;
mod concat_heads;
mod concat_heads_decode;
mod create_heads;
mod create_heads_decode;
mod deallocate;
mod embedding;
mod laws;
mod manual_seed;
mod matmul;
mod plus_one;
mod rms_norm;
mod rotary;
mod rotary_decode;
mod rotary_fused;
mod row_max;
mod sampling;
mod sdpa;
mod sdpa_decode;
mod slice;
mod slice_at;
mod ternary_linear;
mod to_layout;
mod to_memory_config;
mod top_k;
mod traffic;
mod transpose;
mod typecast;
mod view;

use std::iter::Sum;
use std::ops::Add;

use bitnetc_plan::op::{Sdpa, SdpaDecode};
use bitnetc_plan::ttnn::Outcome;
use bitnetc_plan::{Bound, Cost, Op, TensorSpec, for_each_op};

use super::Context;
use crate::target::{Calibration, Movement};
pub use traffic::data_bytes;

/// Predicted time in whole nanoseconds, so that sums do not depend on their order. Ordered by time, then by
/// the work of the kernels, then by the cores left idle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price {
    /// Launches and shortest periods included.
    pub ns: u64,
    /// Time of the matrix units and DRAM alone. It decides between ways whose predicted times are equal because launching takes longer.
    pub work: u64,
    /// Cores that attention leaves without work at any position. Of two ways that are equal at the position asked, the one with fewer idle
    /// cores is better at later positions.
    pub idle: u64,
}

impl Price {
    /// The price of a predicted cost.
    pub fn of(cost: &Cost) -> Self {
        Price { ns: (cost.us * 1000.0).round() as u64, work: cost.fpu_cycles + cost.dram_bytes, idle: 0 }
    }

    /// The price of a call of this predicted cost.
    pub fn of_call(op: &Op, operands: &[&TensorSpec], cost: &Cost, cx: &Context<'_>) -> Self {
        let idle = Attention::of(op).map_or(0, |attention| attention.idle(operands, cx.target.card.cores()));
        Price { idle, ..Price::of(cost) }
    }

    /// The price that is left without a part of it.
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

/// An op to be priced: the tensors and circumstances that its time depends on, besides its arguments.
struct Priced<'a> {
    operands: &'a [&'a TensorSpec],
    cx: &'a Context<'a>,
    /// Bytes read from DRAM and written to it.
    bytes: u64,
}

impl<'a> Priced<'a> {
    fn constants(&self) -> &'a Calibration {
        &self.cx.target.cost
    }

    fn movement(&self) -> &'a Movement {
        &self.constants().movement
    }

    /// Microseconds that the bytes take at the bandwidth of interleaved tensors.
    fn streamed(&self) -> f64 {
        self.bytes as f64 / (self.movement().interleaved_gb_per_s * 1000.0)
    }
}

/// Time and work of a kernel, before launching.
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
    let kernel = kernel(op, &Priced { operands, cx, bytes });
    let launched = kernel.us + c.launch_us;
    let bound = if launched < c.period_us { Bound::Launch } else { kernel.bound };
    let us = launched.max(c.period_us) + f64::from(outcome.programs - 1) * c.period_us;
    // The model is not exact to nanoseconds, and rounded times compare equal where they should.
    Cost { us: (us * 1000.0).round() / 1000.0, dram_bytes: bytes, fpu_cycles: kernel.fpu_cycles.round() as u64, bound }
}

/// Predicted cost of a call of one program whose legality is not checked. Its results are not counted, so this is a lower bound.
pub fn unchecked(op: &Op, operands: &[&TensorSpec], cx: &Context<'_>) -> Cost {
    cost(op, operands, &Outcome { programs: 1, ..Outcome::default() }, cx)
}

/// The calls of which more depends on the program config than the time of their kernel.
enum Attention<'a> {
    Decode(&'a SdpaDecode),
    Prefill(&'a Sdpa),
}

impl<'a> Attention<'a> {
    /// `None` of any other priced.
    fn of(op: &'a Op) -> Option<Self> {
        match op {
            Op::SdpaDecode(args) => Some(Attention::Decode(args)),
            Op::Sdpa(args) => Some(Attention::Prefill(args)),
            Op::Embedding(_) | Op::RmsNorm(_) | Op::Matmul(_) | Op::TernaryLinear(_) => None,
            Op::CreateHeadsDecode(_) | Op::CreateHeads(_) => None,
            Op::RotaryFused(_) | Op::RotaryDecode(_) | Op::Rotary(_) => None,
            Op::CacheUpdate(_) | Op::CacheUpdateOne(_) | Op::CacheFill(_) => None,
            Op::ConcatHeadsDecode(_) | Op::ConcatHeads(_) | Op::ToMemoryConfig(_) | Op::ToLayout(_) => None,
            Op::Typecast(_) | Op::View(_) | Op::Transpose(_) | Op::Slice(_) | Op::SliceAt(_) | Op::Concat(_) => None,
            Op::Binary(_) | Op::Abs(_) | Op::RowMax(_) | Op::ArgMax(_) | Op::PlusOne(_) | Op::Deallocate(_) => None,
            Op::TopK(_) | Op::ManualSeed(_) | Op::Sampling(_) => None,
        }
    }

    /// Bytes of keys and values, which are read as often as the program config and the position make it.
    fn reads(&self, operands: &[&TensorSpec], position: u32) -> u64 {
        match self {
            Attention::Decode(args) => sdpa_decode::reads(args, operands, position),
            Attention::Prefill(args) => sdpa::reads(args, operands),
        }
    }

    /// Cores that have nothing to do at any position, which only decode has.
    fn idle(&self, operands: &[&TensorSpec], cores: u32) -> u64 {
        match self {
            Attention::Decode(args) => u64::from(sdpa_decode::idle(args, operands, cores)),
            Attention::Prefill(_) => 0,
        }
    }
}

/// Makes of the list of ops the match that has each op priced by the file of its name.
macro_rules! price_each {
    ($($(#[$doc:meta])* $variant:ident($args:ident) in $file:ident;)*) => {
        fn kernel(op: &Op, priced: &Priced<'_>) -> Kernel {
            match op {
                $(Op::$variant(args) => $file::kernel(args, priced),)*
            }
        }
    };
}

for_each_op!(price_each);
