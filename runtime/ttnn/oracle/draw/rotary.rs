//! Draws of `ttnn.experimental.rotary_embedding_llama` of a prompt.

use bitnetc_plan::op::Rotary;
use bitnetc_plan::{DType, MemoryConfig, TILE, TensorSpec};

use super::dice::Dice;
use super::heads::prompt;
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("rotary_embedding_llama", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let (heads, kv_heads, head_dim) = dice.heads();
    let heads = dice.pick(&[heads, kv_heads]);
    let rows = prompt(dice, heads * head_dim);
    let angle_rows = dice.pick(&[rows, rows, rows, 4096, rows / 2]);
    let memory = if rows < 300 { dice.interleaved() } else { MemoryConfig::DRAM };
    let input = TensorSpec::tile([1, heads, rows, head_dim], DType::Bf16, MemoryConfig::DRAM);
    let angles = TensorSpec::tile([1, 1, angle_rows, head_dim], DType::Bf16, MemoryConfig::DRAM);
    let trans = TensorSpec::tile([1, 1, TILE, TILE], DType::Bf16, MemoryConfig::DRAM);
    let compute = dice.compute();
    let op = Rotary { input: operand(), cos: operand(), sin: operand(), trans: operand(), compute, memory };
    question(dice, op, vec![input, angles.clone(), angles, trans])
}
