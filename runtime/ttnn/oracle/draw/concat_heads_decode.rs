//! Draws of `ttnn.experimental.nlp_concat_heads_decode`.

use bitnetc_plan::op::ConcatHeadsDecode;
use bitnetc_plan::{Cores, DType, MemoryConfig, TILE, TensorSpec};

use super::dice::Dice;
use super::heads::grid;
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("nlp_concat_heads_decode", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let ((heads, _, head_dim), users) = (dice.heads(), dice.batch_rows());
    let last = dice.card.cores() - users;
    let first = if dice.chance(0.2) { dice.between(0, last) } else { 0 };
    let cores = grid(dice);
    let input = match dice.chance(0.5) {
        true => dice.users(first, users, heads, head_dim),
        false => {
            let on = Cores::row_major(users, (cores.extent().0, dice.card.grid.1));
            let shard = [heads.next_multiple_of(TILE), head_dim];
            TensorSpec::tile([1, users, heads, head_dim], DType::Bf16, MemoryConfig::height(on, shard))
        }
    };
    question(dice, ConcatHeadsDecode { input: operand(), heads, cores }, vec![input])
}
