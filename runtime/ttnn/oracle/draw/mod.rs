//! Questions, drawn from what models and cards could ask: most legal or nearly so, some broken on purpose.
//!
//! Sizes are those of models; placements are any that TT-NN can allocate; arguments are mostly sensible, sometimes not. A twelfth of the
//! questions has one operand spoiled, whatever the rule ([`Dice::spoil`]).

mod attention;
mod dice;
mod elementwise;
mod heads;
mod matmul;
mod movement;
mod norm;
mod tables;

use bitnetc_plan::{Op, Ref, TensorSpec};

pub(super) use dice::Dice;

use super::Question;

/// A generator; `None` when what it drew makes no sense even as a broken question (a shard for no core).
type Draw = fn(&mut Dice<'_>) -> Option<Question>;

/// The rules and their generators.
pub(super) const RULES: &[(&str, Draw)] = &[
    ("placement", dice::place),
    ("linear, DRAM-sharded", matmul::dram_sharded),
    ("linear, 1D multicast", matmul::multicast_1d),
    ("linear, 2D multicast", matmul::multicast_2d),
    ("rms_norm, sharded", norm::sharded),
    ("rms_norm, interleaved", norm::interleaved),
    ("nlp_create_qkv_heads_decode", heads::create_decode),
    ("nlp_create_qkv_heads", heads::create),
    ("nlp_concat_heads_decode", heads::concat_decode),
    ("nlp_concat_heads", heads::concat),
    ("rotary_embedding_llama_fused_qk", attention::rotary_fused),
    ("rotary_embedding_llama", attention::rotary),
    ("rotary_embedding_llama, decode", attention::rotary_decode),
    ("paged_fused_update_cache", attention::cache_update),
    ("paged_update_cache", attention::cache_update_one),
    ("paged_fill_cache", attention::cache_fill),
    ("paged_scaled_dot_product_attention_decode", attention::sdpa_decode),
    ("scaled_dot_product_attention", attention::sdpa),
    ("add, mul", elementwise::binary),
    ("abs", elementwise::abs),
    ("max", elementwise::row_max),
    ("to_memory_config", movement::to_memory_config),
    ("to_layout", movement::to_layout),
    ("typecast", movement::typecast),
    ("reshape", movement::view),
    ("transpose", movement::transpose),
    ("slice", movement::slice),
    ("concat", movement::concat),
    ("embedding", tables::embedding),
    ("argmax", tables::argmax),
    ("plus_one", tables::plus_one),
];

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
