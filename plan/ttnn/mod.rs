//! What TT-NN accepts: one file per op family, each constraint in code with TT-NN's own words beside it.
//!
//! [`check`] answers for one call what TT-NN would: the outputs it returns and the L1 it takes, or why it refuses. The compiler asks it
//! of every candidate, [`crate::verify()`] of every step of a plan; the oracle test asks the real library the same questions.
//!
//! A rule never calls legal what TT-NN refuses. Where it is stricter than TT-NN, its docstring and [`Violation::narrower`] say so; the
//! oracle holds everything else against the library (`bitnetc ttnn oracle`). Rules answer in microseconds:
//! strings are only made of constraints that are broken.

use thiserror::Error;

mod assign;
mod cache;
mod checks;
mod convert;
mod eltwise;
mod embedding;
mod heads;
mod matmul;
mod matmul_dram_sharded;
mod matmul_multicast;
#[cfg(test)]
pub(crate) mod mock;
mod movement;
mod norm;
mod pieces;
mod placement;
mod reduce;
mod rotary;
mod sdpa;
mod sdpa_decode;
mod users;

pub use cache::{check_cache_fill, check_cache_update, check_cache_update_one};
pub use checks::{Checks, operands};
pub use convert::{check_to_layout, check_typecast};
pub use eltwise::{check_abs, check_binary};
pub use embedding::{check_embedding, check_plus_one};
pub use heads::{check_concat_heads, check_concat_heads_decode, check_create_heads, check_create_heads_decode};
pub use matmul::check_matmul;
pub use movement::{check_to_memory_config, check_transpose, check_view};
pub use norm::check_rms_norm;
pub use pieces::{check_concat, check_slice};
pub use placement::require_placement;
pub use reduce::{check_argmax, check_row_max};
pub use rotary::{check_rotary, check_rotary_decode, check_rotary_fused};
pub use sdpa::check_sdpa;
pub use sdpa_decode::{Split, check_sdpa_decode};

use crate::{Card, Op, TensorSpec};

/// What a legal call does.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// Specs of the tensors returned, in TT-NN's order. Empty for calls that write in place.
    pub outputs: Vec<TensorSpec>,
    /// Circular, dataflow and scratchpad buffers, bytes on the busiest core, all device programs of the call: their maximum.
    pub circular_buffers: u64,
    /// L1 tensors the call allocates for itself and frees before it returns, in order.
    pub temporaries: Vec<Temporary>,
    /// Device programs launched; 0 for calls that only rename.
    pub programs: u32,
}

/// An L1 tensor internal to a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Temporary {
    /// The tensor.
    pub spec: TensorSpec,
    /// Allocated before the call's output (otherwise after).
    pub before_output: bool,
}

/// A constraint that a call breaks.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what}")]
pub struct Violation {
    /// The constraint with the numbers that break it, in TT-NN's words where it has any.
    pub what: String,
    /// What would be right.
    pub hint: String,
    /// A limit of the rule's own: TT-NN may take the call, and nothing is said of what it does then.
    pub narrower: bool,
}

/// What a rule answers.
pub type Answer = Result<Outcome, Vec<Violation>>;

/// What TT-NN answers to `op` with operands of these specs (in the order of [`Op::operands`]) on `card`.
///
/// ```
/// use bitnetc_plan::card::{Dram, L1};
/// use bitnetc_plan::op::{Op, Ref, ToMemoryConfig};
/// use bitnetc_plan::{Arch, Card, Cores, DType, MemoryConfig, TensorSpec, ttnn};
///
/// let n150 = Card {
///     name: "n150".into(),
///     arch: Arch::Wormhole,
///     grid: (8, 8),
///     l1: L1 { base: 105_824, end: 1_499_136, alignment: 16 },
///     dram: Dram { banks: 12, bank_bytes: 1_068_318_656, alignment: 32, readers_per_bank: 1 },
/// };
/// // One row of tiles with 2560 columns, spread over the first cores in shards of two tiles.
/// let row = TensorSpec::tile([1, 1, 32, 2560], DType::Bf16, MemoryConfig::DRAM);
/// let spread = |cores| {
///     let memory = MemoryConfig::width(Cores::row_major(cores, n150.grid), [32, 64]);
///     Op::from(ToMemoryConfig { input: Ref::Value("row".into()), memory })
/// };
/// let legal = ttnn::check(&spread(40), &[&row], &n150).expect("forty shards on forty cores");
/// assert_eq!(legal.outputs[0].to_string(), "[1, 1, 32, 2560] bf16 L1 WS[32,64] on 8x5");
///
/// let violations = ttnn::check(&spread(8), &[&row], &n150).expect_err("forty shards on eight cores");
/// println!("{}; {}", violations[0], violations[0].hint);
/// ```
///
/// # Errors
/// Every constraint the call breaks.
pub fn check(op: &Op, operands: &[&TensorSpec], card: &Card) -> Answer {
    let outcome = dispatch(op, operands, card)?;
    let end = card.l1.base.saturating_add(outcome.circular_buffers);
    if end > card.l1.end {
        return Err(vec![Violation {
            what: format!(
                "Statically allocated circular buffers on core range grow to {end} B which is beyond max L1 size of {} B",
                card.l1.end
            ),
            hint: "smaller blocks, more cores, or narrower data types".into(),
            narrower: false,
        }]);
    }
    Ok(outcome)
}

fn dispatch(op: &Op, operands: &[&TensorSpec], card: &Card) -> Answer {
    match op {
        Op::Matmul(args) => check_matmul(args, operands, card),
        Op::RmsNorm(args) => check_rms_norm(args, operands, card),
        Op::Binary(args) => check_binary(args, operands, card),
        Op::Abs(args) => check_abs(args, operands, card),
        Op::Embedding(args) => check_embedding(args, operands, card),
        Op::ToMemoryConfig(args) => check_to_memory_config(args, operands, card),
        Op::ToLayout(args) => check_to_layout(args, operands, card),
        Op::Typecast(args) => check_typecast(args, operands, card),
        Op::View(args) => check_view(args, operands, card),
        Op::Transpose(args) => check_transpose(args, operands, card),
        Op::Slice(args) => check_slice(args, operands, card),
        Op::Concat(args) => check_concat(args, operands, card),
        Op::RowMax(args) => check_row_max(args, operands, card),
        Op::ArgMax(args) => check_argmax(args, operands, card),
        Op::PlusOne(args) => check_plus_one(args, operands, card),
        Op::CreateHeadsDecode(args) => check_create_heads_decode(args, operands, card),
        Op::CreateHeads(args) => check_create_heads(args, operands, card),
        Op::RotaryFused(args) => check_rotary_fused(args, operands, card),
        Op::RotaryDecode(args) => check_rotary_decode(args, operands, card),
        Op::Rotary(args) => check_rotary(args, operands, card),
        Op::CacheUpdate(args) => check_cache_update(args, operands, card),
        Op::CacheUpdateOne(args) => check_cache_update_one(args, operands, card),
        Op::CacheFill(args) => check_cache_fill(args, operands, card),
        Op::SdpaDecode(args) => check_sdpa_decode(args, operands, card),
        Op::Sdpa(args) => check_sdpa(args, operands, card),
        Op::ConcatHeadsDecode(args) => check_concat_heads_decode(args, operands, card),
        Op::ConcatHeads(args) => check_concat_heads(args, operands, card),
        Op::Deallocate(_) => Ok(Outcome::default()),
    }
}
