//! TT-NN's side of the contract: one file per call, with every constraint that TT-NN puts on it.
//!
//! [`check`] answers for one call what TT-NN would: the outputs it returns and the L1 it takes, or the constraints it breaks. The compiler
//! asks it of every candidate, [`crate::verify()`] of every step of a plan, `bitnetc ask` of whatever a person types; the oracle puts the
//! same questions to the real library and compares the answers (`bitnetc ttnn oracle`).
//!
//! A rule never calls legal what TT-NN refuses. Where it is stricter than TT-NN, the [`Source`] of the constraint is bitnetc and says why.
//! [`RULES`] lists every constraint of every rule. Rules answer in microseconds, because the search asks them of thousands of candidates:
//! values are only collected for constraints that are broken, and only made into text for somebody who reads them.

mod assign;
mod checks;
mod constraint;
mod elementwise;
mod integers;
#[cfg(test)]
pub(crate) mod mock;
mod paged_cache;
mod placement;
mod prefill_heads;
#[cfg(test)]
mod reach;
mod rotary_pairs;
mod users;

mod abs;
mod add_integers;
mod add_rows;
mod arg_max;
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
mod transpose;
mod typecast;
mod view;

pub use checks::Checks;
pub use constraint::{Constraint, Show, Source, Value, Values, Violation};
pub use placement::require_placement;
pub use rms_norm::norm_error;
pub use sdpa_decode::{Split, approximate_exp};
pub use top_k::{CANDIDATES, Search};

use constraint::{Size, constraints, values};

use crate::{Card, DType, Op, TensorSpec, for_each_op};

/// The effect of a legal call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// Specs of the tensors returned, in TT-NN's order. Empty for calls that write in place.
    pub outputs: Vec<TensorSpec>,
    /// Circular, dataflow and scratchpad buffers, bytes on the busiest core, all device programs of the call: their maximum.
    pub circular_buffers: u64,
    /// Tensors the call allocates for itself and frees before it returns, in order.
    pub temporaries: Vec<Temporary>,
    /// Device programs launched; 0 for calls that only rename.
    pub programs: u32,
}

/// A tensor internal to a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Temporary {
    /// The tensor.
    pub spec: TensorSpec,
    /// Allocated before the call's output (otherwise after).
    pub before_output: bool,
}

/// The answer of a rule.
pub type Answer = Result<Outcome, Vec<Violation>>;

/// The constraints of one call.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// The rule's name, which is its file's: `rms_norm`.
    pub name: &'static str,
    lists: &'static [&'static [&'static Constraint]],
}

impl Rule {
    /// Every constraint the rule asks for: its own, those it shares with others, those of every call.
    pub fn constraints(&self) -> impl Iterator<Item = &'static Constraint> + use<> {
        self.lists.iter().copied().chain([checks::OWN, OWN]).flatten().copied()
    }
}

constraints! { "call", "program.cpp, validate_circular_buffer_region";
    SHAPE: "A tensor has one to four dimensions, none of them 0." in "tensor_spec.cpp"
        => "shape {shape}", "one to four dimensions, none of them 0";
    TWO_BITS: "Weights of two bits are read by ternary_linear and ternary_gated, and are no result."
        because "TT-NN has no such data type, and its own calls would take them for integers"
        => "{spec}", "bf16, bfp8 or bfp4, or ternary_linear";
    CIRCULAR_BUFFERS: "The circular buffers of a program fit the L1 of a core."
        => "Statically allocated circular buffers on core range grow to {end} B which is beyond max L1 size of {size} B",
           "{over} less: smaller blocks, more cores, or narrower data types";
}

/// Makes of the list of ops the table of rules and the match that has each op answered for by the rule of its name.
macro_rules! rules {
    ($($(#[$doc:meta])* $variant:ident($args:ident) in $file:ident;)*) => {
        /// Every rule, in the order of [`Op`]'s variants.
        pub static RULES: &[Rule] = &[$(Rule { name: stringify!($file), lists: $file::ALL }),*];

        fn dispatch(op: &Op, operands: &[&TensorSpec], card: &Card) -> Answer {
            match op {
                $(Op::$variant(args) => $file::check(args, operands, card),)*
            }
        }
    };
}

for_each_op!(rules);

/// The answer that TT-NN gives to `op` with operands of these specs (in the order of [`Op::operands`]) on `card`.
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
///     dram: Dram { banks: 12, base: 1_048_640, bank_bytes: 1_072_693_184, alignment: 32, readers_per_bank: 1 },
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
/// println!("{}; {}", violations[0], violations[0].hint());
/// ```
///
/// # Errors
/// Every constraint the call breaks.
pub fn check(op: &Op, operands: &[&TensorSpec], card: &Card) -> Answer {
    let mut checks = Checks::new();
    for spec in operands {
        checks.require(&SHAPE, placement::has_sides(spec), values![shape = spec.shape]);
        let own = matches!(op, Op::TernaryLinear(_) | Op::TernaryGated(_) | Op::Deallocate(_));
        let read = spec.dtype != DType::Bfp2 || own;
        checks.require(&TWO_BITS, read, values![spec]);
    }
    checks.settle()?;
    let outcome = dispatch(op, operands, card)?;
    for spec in &outcome.outputs {
        checks.require(&TWO_BITS, spec.dtype != DType::Bfp2, values![spec]);
    }
    let end = card.l1.base.saturating_add(outcome.circular_buffers);
    checks.require(
        &CIRCULAR_BUFFERS,
        end <= card.l1.end,
        values![end, size = card.l1.end, over = Size(end.saturating_sub(card.l1.end))],
    );
    checks.finish(|| outcome)
}
