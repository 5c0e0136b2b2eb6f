//! Draws of `ttnn.experimental.paged_fused_update_cache`.

use bitnetc_plan::op::CacheUpdate;

use super::dice::Dice;
use super::paged::{BLOCKS, cache, integers};
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("paged_fused_update_cache", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let ((_, kv_heads, head_dim), users) = (dice.heads(), dice.batch_rows());
    let all = dice.card.cores();
    if 2 * users > all {
        return None;
    }
    let (block, per_user) = (dice.pick(&BLOCKS), dice.pick(&[1, 2, 4, 16, 33, 64]));
    let blocks = if dice.chance(0.8) { users * per_user } else { per_user.saturating_sub(1).max(1) };
    let k_cache = cache(dice, blocks, kv_heads, block, head_dim);
    let v_cache = if dice.chance(0.95) { k_cache.clone() } else { cache(dice, blocks, kv_heads, block, head_dim) };
    let k_first = if dice.chance(0.9) { users } else { dice.between(0, all - users) };
    let (k, v) = (dice.users(k_first, users, kv_heads, head_dim), dice.users(0, users, kv_heads, head_dim));
    let positions = integers([users + u32::from(dice.chance(0.08))]);
    let op = CacheUpdate {
        k_cache: operand(),
        k: operand(),
        v_cache: operand(),
        v: operand(),
        positions: operand(),
        page_table: operand(),
    };
    question(dice, op, vec![k_cache, k, v_cache, v, positions, integers([users, per_user])])
}
