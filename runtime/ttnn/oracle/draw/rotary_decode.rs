//! Draws of `ttnn.experimental.rotary_embedding_llama` of decode.

use bitnetc_plan::op::RotaryDecode;
use bitnetc_plan::{Cores, DType, MemoryConfig, TILE, TensorSpec};

use super::dice::Dice;
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("rotary_embedding_llama, decode", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let ((heads, kv_heads, head_dim), users) = (dice.heads(), dice.batch_rows());
    let all = dice.card.cores();
    let heads = dice.pick(&[heads, kv_heads]);
    let first = if dice.chance(0.8) { 0 } else { dice.between(0, all - users) };
    let angles_first = if dice.chance(0.9) { first } else { 0 };
    let angles_users = dice.pick(&[users, users, users, users, (2 * users).min(all - angles_first)]);
    let repeated = dice.pick(&[users, users, all, all, users.div_ceil(2)]);
    let input = dice.users(first, users, heads, head_dim);
    let angles = dice.users(angles_first, angles_users, 32, head_dim);
    let on = Cores::row_major(repeated, dice.card.grid);
    let trans = TensorSpec::tile([1, 1, TILE * repeated, TILE], DType::Bf16, MemoryConfig::height(on, [TILE, TILE]));
    let compute = dice.compute();
    let op = RotaryDecode { input: operand(), cos: operand(), sin: operand(), trans: operand(), compute };
    question(dice, op, vec![input, angles.clone(), angles, trans])
}
