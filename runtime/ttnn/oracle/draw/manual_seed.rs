//! Draws of `ttnn.manual_seed` of each user's core.

use bitnetc_plan::op::ManualSeed;
use bitnetc_plan::{DType, MemoryConfig, TensorSpec};

use super::dice::Dice;
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("manual_seed", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let users = dice.batch_rows();
    let words = |count| TensorSpec::row_major([count], DType::U32, MemoryConfig::DRAM);
    let generators = if dice.chance(0.9) { users } else { dice.batch_rows() };
    let op = ManualSeed { seeds: operand(), generators: operand() };
    question(dice, op, vec![words(users), words(generators)])
}
