//! Draws of `ttnn.experimental.nlp_create_qkv_heads`.

use bitnetc_plan::op::CreateHeads;
use bitnetc_plan::{MemoryConfig, TensorSpec};

use super::dice::Dice;
use super::heads::prompt;
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("nlp_create_qkv_heads", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let (heads, kv_heads, head_dim) = dice.heads();
    let columns = (heads + 2 * kv_heads) * head_dim;
    let rows = prompt(dice, columns);
    let memory = if rows < 500 { dice.interleaved() } else { MemoryConfig::DRAM };
    let input = TensorSpec::tile([1, 1, rows, columns], dice.activations(), MemoryConfig::DRAM);
    question(dice, CreateHeads { input: operand(), heads, kv_heads, memory }, vec![input])
}
