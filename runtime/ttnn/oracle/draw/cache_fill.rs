//! Draws of `ttnn.experimental.paged_fill_cache`.

use bitnetc_plan::op::CacheFill;
use bitnetc_plan::{MemoryConfig, TensorSpec};

use super::dice::Dice;
use super::heads::prompt;
use super::paged::{BLOCKS, cache, integers};
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("paged_fill_cache", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let (_, kv_heads, head_dim) = dice.heads();
    let rows = if dice.chance(0.05) { 100 } else { prompt(dice, kv_heads * head_dim) };
    let (block, per_user) = (dice.pick(&BLOCKS), dice.pick(&[8, 16, 64, 512]));
    let users = if per_user < 512 && dice.chance(0.5) { dice.batch_rows() } else { 1 };
    let cache = cache(dice, users * per_user, kv_heads, block, head_dim);
    let dtype = if dice.chance(0.85) { cache.dtype } else { dice.weights() };
    let input = TensorSpec::tile([1, kv_heads, rows, head_dim], dtype, MemoryConfig::DRAM);
    let op = CacheFill { cache: operand(), input: operand(), pages: operand() };
    question(dice, op, vec![cache, input, integers([users, per_user])])
}
