//! Draws of `ttnn.experimental.rotary_embedding_llama_fused_qk`.

use bitnetc_plan::op::RotaryFused;
use bitnetc_plan::{Cores, DType, MemoryConfig, TILE, TensorSpec};

use super::dice::Dice;
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("rotary_embedding_llama_fused_qk", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let ((heads, kv_heads, head_dim), users) = (dice.heads(), dice.batch_rows());
    let all = dice.card.cores();
    if 2 * users > all {
        return None;
    }
    let k_first = if dice.chance(0.9) { users } else { dice.between(0, all - users) };
    let repeated = dice.pick(&[2 * users, 2 * users, 2 * users, all, users]);
    let (q, k) = (dice.users(0, users, heads, head_dim), dice.users(k_first, users, kv_heads, head_dim));
    let angles = dice.users(0, 2 * users, 32, head_dim);
    let on = Cores::row_major(repeated, dice.card.grid);
    let trans = TensorSpec::tile([1, 1, TILE * repeated, TILE], DType::Bf16, MemoryConfig::height(on, [TILE, TILE]));
    let compute = dice.compute();
    let op = RotaryFused { q: operand(), k: operand(), cos: operand(), sin: operand(), trans: operand(), compute };
    question(dice, op, vec![q, k, angles.clone(), angles, trans])
}
