//! Draws of `ttnn.experimental.nlp_concat_heads`.

use bitnetc_plan::op::ConcatHeads;
use bitnetc_plan::{MemoryConfig, TensorSpec};

use super::dice::Dice;
use super::heads::prompt;
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("nlp_concat_heads", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let (heads, _, head_dim) = dice.heads();
    let rows = prompt(dice, heads * head_dim);
    let memory = if rows < 500 { dice.interleaved() } else { MemoryConfig::DRAM };
    let input = TensorSpec::tile([1, heads, rows, head_dim], dice.activations(), MemoryConfig::DRAM);
    question(dice, ConcatHeads { input: operand(), memory }, vec![input])
}
