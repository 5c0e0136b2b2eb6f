//! The cost model predicts the time of each call from the calibrated constants of a target. The formula of each op is in the file of its
//! name.
//!
//! `time = kernel + gap`: a program starts a gap after the one before it, as long as the dispatcher is ahead. Where it is not, the phase
//! waits, which [`crate::predict`] adds to the finished schedule. The kernel's time by op family:
//! - DRAM-sharded matmul: `start + blocks * max(block_floor, block + in0_block_w * max(read, compute))`, where reading and computing are
//!   per tile of K: a bank's columns are read at the bank's bandwidth and multiplied by its readers. Where blocks are longer than those of
//!   the fit, the first is read and the last multiplied with nothing beside it;
//! - 2D matmul: `start + max(compute, read) + unhidden * min(compute, read)`, and a start for each K-block beyond the number in the fit;
//!   1D matmul: the same with constants of its own, and reading takes a least time per tile of the weight;
//! - products by two-bit weights: streaming, sending and multiplying side by side (`ternary_linear`);
//! - norm: `start + per_1000 * width / 1000` for one tile of rows, and the time of reading and writing DRAM for more. The tiles of a core
//!   take their time one after another, in norms and in elementwise work;
//! - attention: the busiest core's chunks of keys, or all bytes at the bandwidth of DRAM and the core's own at that of a core (`attention`);
//!   in decode at the position asked for;
//! - argmax: a loop over the elements of a core, row by row;
//! - everything else: a measured time for one tile of rows, or the bytes over the interleaved bandwidth.

mod abs;
mod add_integers;
mod add_rows;
mod arg_max;
mod attention;
mod best_column;
mod binary;
mod cache_fill;
mod cache_update;
mod cache_update_one;
mod concat;
mod concat_heads;
mod concat_heads_decode;
mod copy_into;
mod create_heads;
mod create_heads_decode;
mod deallocate;
mod embedding;
mod gather_rows;
mod laws;
mod manual_seed;
mod matmul;
mod plus_one;
mod quantize_rows;
mod reshape;
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
mod ternary_gated;
mod ternary_linear;
mod times_integer;
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
use bitnetc_plan::{Bound, Card, Cost, Op, TensorSpec, for_each_op};

use super::Context;
use crate::predict::Program;
use crate::target::{Calibration, Dispatch, Movement};
pub use arg_max::us as argmax_us;
pub use traffic::data_bytes;

/// Predicted time in whole nanoseconds, so that sums do not depend on their order. Ordered by time, then by
/// the work of the kernels, then by the cores left idle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price {
    /// Kernels, and the gaps between them.
    pub ns: u64,
    /// Time of the matrix units and DRAM alone. It decides between ways whose predicted times are equal.
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

/// The circumstances that a price depends on: the card, the constants of its cost model, and the position at which attention is priced.
#[derive(Debug, Clone, Copy)]
pub struct Machine<'a> {
    /// The card.
    pub card: &'a Card,
    /// The constants.
    pub cost: &'a Calibration,
    /// The position.
    pub position: u32,
}

impl<'a> From<&Context<'a>> for Machine<'a> {
    fn from(cx: &Context<'a>) -> Self {
        Machine { card: &cx.target.card, cost: &cx.target.cost, position: cx.position }
    }
}

/// An op to be priced: the tensors and circumstances that its time depends on, besides its arguments.
struct Priced<'a> {
    operands: &'a [&'a TensorSpec],
    machine: Machine<'a>,
    /// Bytes read from DRAM and written to it.
    bytes: u64,
}

impl<'a> Priced<'a> {
    fn constants(&self) -> &'a Calibration {
        self.machine.cost
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
    let machine = Machine::from(cx);
    let bytes = traffic::dram(op, operands, outcome, machine.position);
    let kernel = kernel(op, &Priced { operands, machine, bytes });
    let bound = if kernel.us < machine.cost.gap_us { Bound::Launch } else { kernel.bound };
    let us = machine.cost.gap_us + kernel.us + further_programs_us(outcome.programs, machine.cost);
    // The model is not exact to nanoseconds, and rounded times compare equal where they should.
    Cost { us: (us * 1000.0).round() / 1000.0, dram_bytes: bytes, fpu_cycles: kernel.fpu_cycles.round() as u64, bound }
}

/// Microseconds of the programs of a call beside the one that is modelled. They move as much as a reshard does.
fn further_programs_us(programs: u32, c: &Calibration) -> f64 {
    f64::from(programs - 1) * (c.gap_us + c.movement.reshard_us)
}

/// A call that launches programs, ready to be priced on any machine.
#[derive(Debug)]
pub struct Launch {
    op: Op,
    operands: Vec<TensorSpec>,
    outcome: Outcome,
}

impl Launch {
    /// A call that TT-NN answers with `outcome`, which has programs.
    pub fn new(op: Op, operands: Vec<TensorSpec>, outcome: Outcome) -> Self {
        Launch { op, operands, outcome }
    }

    /// Its programs on a machine. The time of the call is spread evenly over them.
    pub fn programs(&self, machine: Machine<'_>) -> impl Iterator<Item = Program> + use<> {
        let operands: Vec<&TensorSpec> = self.operands.iter().collect();
        let bytes = traffic::dram(&self.op, &operands, &self.outcome, machine.position);
        let kernel = kernel(&self.op, &Priced { operands: &operands, machine, bytes });
        let programs = self.outcome.programs;
        let us = machine.cost.gap_us + kernel.us + further_programs_us(programs, machine.cost);
        let program =
            Program { us: us / f64::from(programs), dispatch_us: dispatch_us(&self.op, &machine.cost.dispatch) };
        (0..programs).map(move |_| program)
    }
}

/// Microseconds that the dispatcher takes for a program of a call.
fn dispatch_us(op: &Op, d: &Dispatch) -> f64 {
    match op {
        Op::Matmul(_) | Op::TernaryLinear(_) | Op::TernaryGated(_) => d.matmul_us,
        Op::SdpaDecode(_) | Op::Sdpa(_) => d.attention_us,
        Op::QuantizeRows(_) | Op::RmsNorm(_) | Op::RowMax(_) | Op::ArgMax(_) | Op::BestColumn(_) => d.norm_us,
        Op::TopK(_) => d.norm_us,
        Op::AddRows(_) | Op::Binary(_) | Op::Abs(_) | Op::AddIntegers(_) | Op::TimesInteger(_) => d.elementwise_us,
        Op::CacheUpdate(_) | Op::CacheUpdateOne(_) | Op::CacheFill(_) => d.cache_update_us,
        Op::RotaryFused(_) | Op::RotaryDecode(_) | Op::Rotary(_) => d.rotary_us,
        Op::ToLayout(_) | Op::Typecast(_) => d.untilize_us,
        Op::PlusOne(_) => d.plus_one_us,
        Op::Embedding(_) | Op::CreateHeadsDecode(_) | Op::CreateHeads(_) | Op::ConcatHeadsDecode(_) => d.reshard_us,
        Op::ConcatHeads(_) | Op::ToMemoryConfig(_) | Op::View(_) | Op::Transpose(_) | Op::Slice(_) => d.reshard_us,
        Op::Reshape(_) | Op::GatherRows(_) | Op::CopyInto(_) => d.reshard_us,
        Op::SliceAt(_) | Op::Concat(_) | Op::ManualSeed(_) | Op::Sampling(_) | Op::Deallocate(_) => d.reshard_us,
    }
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
            Op::Embedding(_) | Op::RmsNorm(_) | Op::Matmul(_) => None,
            Op::TernaryLinear(_) | Op::TernaryGated(_) | Op::QuantizeRows(_) | Op::AddRows(_) => None,
            Op::CreateHeadsDecode(_) | Op::CreateHeads(_) => None,
            Op::RotaryFused(_) | Op::RotaryDecode(_) | Op::Rotary(_) => None,
            Op::CacheUpdate(_) | Op::CacheUpdateOne(_) | Op::CacheFill(_) => None,
            Op::ConcatHeadsDecode(_) | Op::ConcatHeads(_) | Op::ToMemoryConfig(_) | Op::ToLayout(_) => None,
            Op::Typecast(_) | Op::View(_) | Op::Transpose(_) | Op::Slice(_) | Op::SliceAt(_) | Op::Concat(_) => None,
            Op::Binary(_) | Op::Abs(_) | Op::RowMax(_) | Op::ArgMax(_) | Op::PlusOne(_) | Op::Deallocate(_) => None,
            Op::TopK(_) | Op::ManualSeed(_) | Op::Sampling(_) | Op::BestColumn(_) | Op::Reshape(_) => None,
            Op::GatherRows(_) | Op::AddIntegers(_) | Op::TimesInteger(_) | Op::CopyInto(_) => None,
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
