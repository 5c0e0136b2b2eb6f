//! Draws of `ttnn.experimental.paged_update_cache`.

use bitnetc_plan::op::CacheUpdateOne;

use super::dice::Dice;
use super::paged::{BLOCKS, cache, integers};
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("paged_update_cache", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let ((_, kv_heads, head_dim), users) = (dice.heads(), dice.batch_rows());
    let (block, per_user) = (dice.pick(&BLOCKS), dice.pick(&[1, 2, 4, 16, 33, 64]));
    let blocks = if dice.chance(0.8) { users * per_user } else { per_user.saturating_sub(1).max(1) };
    let cache = cache(dice, blocks, kv_heads, block, head_dim);
    let first = if dice.chance(0.8) { 0 } else { dice.between(0, dice.card.cores() - users) };
    let input = dice.users(first, users, kv_heads, head_dim);
    let positions = integers([users + u32::from(dice.chance(0.08))]);
    let op = CacheUpdateOne { cache: operand(), input: operand(), positions: operand(), page_table: operand() };
    question(dice, op, vec![cache, input, positions, integers([users, per_user])])
}
