//! Questions, drawn from what models and cards could ask: most legal or nearly so, some broken on purpose.
//!
//! Sizes are those of models; placements are any that TT-NN can allocate; arguments are mostly sensible, sometimes not. A twelfth of the
//! questions has one operand spoiled, whatever the rule ([`Dice::spoil`]).

mod dice;
mod heads;
mod paged;
mod placement;

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

use bitnetc_plan::{Op, Ref, TensorSpec};

pub(super) use dice::Dice;

use super::Question;

/// A generator; `None` when what it drew makes no sense even as a broken question (a shard for no core).
type Draw = fn(&mut Dice<'_>) -> Option<Question>;

/// A rule's name and its generator.
pub(super) type Rule = (&'static str, Draw);

/// Gathers the rules of the ops. An op that is left out does not compile: its variant is missing from a match.
macro_rules! ops {
    ($($variant:ident in $module:ident;)*) => {
        const OF_OPS: &[&[Rule]] = &[$($module::RULES),*];

        const _: fn(&Op) -> &'static [Rule] = |op| match op {
            $(Op::$variant(_) => $module::RULES,)*
        };
    };
}

// The order numbers the generators' streams of random numbers. A new op goes to the end, so that the others ask what they asked before.
ops! {
    Matmul in matmul;
    RmsNorm in rms_norm;
    CreateHeadsDecode in create_heads_decode;
    CreateHeads in create_heads;
    ConcatHeadsDecode in concat_heads_decode;
    ConcatHeads in concat_heads;
    RotaryFused in rotary_fused;
    Rotary in rotary;
    RotaryDecode in rotary_decode;
    CacheUpdate in cache_update;
    CacheUpdateOne in cache_update_one;
    CacheFill in cache_fill;
    SdpaDecode in sdpa_decode;
    Sdpa in sdpa;
    Binary in binary;
    Abs in abs;
    RowMax in row_max;
    ToMemoryConfig in to_memory_config;
    ToLayout in to_layout;
    Typecast in typecast;
    View in view;
    Transpose in transpose;
    Slice in slice;
    Concat in concat;
    Embedding in embedding;
    ArgMax in arg_max;
    PlusOne in plus_one;
    Deallocate in deallocate;
    SliceAt in slice_at;
    TopK in top_k;
    ManualSeed in manual_seed;
    Sampling in sampling;
    TernaryLinear in ternary_linear;
    TernaryGated in ternary_gated;
    QuantizeRows in quantize_rows;
    AddRows in add_rows;
    Reshape in reshape;
    BestColumn in best_column;
    GatherRows in gather_rows;
    AddIntegers in add_integers;
    TimesInteger in times_integer;
    CopyInto in copy_into;
}

/// The rules and their generators, in the order they are asked.
pub(super) fn rules() -> impl Iterator<Item = &'static Rule> {
    placement::RULES.iter().chain(OF_OPS.iter().copied().flatten())
}

/// An operand's place in a call under construction; [`question`] names it.
fn operand() -> Ref {
    Ref::Value(String::new())
}

/// A question about a call whose operands are named in order; one of them may be spoiled.
fn question(dice: &mut Dice<'_>, op: impl Into<Op>, mut operands: Vec<TensorSpec>) -> Option<Question> {
    let mut op = op.into();
    for (at, reference) in op.operands_mut().into_iter().enumerate() {
        *reference = Ref::Value(format!("x{at}"));
    }
    dice.spoil(&mut operands);
    Some(Question::Call { op: Box::new(op), operands })
}
