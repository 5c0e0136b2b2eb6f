//! Draws of `ttnn.multiply` of integers by a number.

use bitnetc_plan::op::TimesInteger;
use bitnetc_plan::{DType, MemoryConfig, TensorSpec};

use super::dice::Dice;
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("multiply integers", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let count = dice.batch_rows();
    let x = TensorSpec::row_major(dice.pick(&[vec![count], vec![1, 1, count]]), DType::U32, MemoryConfig::DRAM);
    let factor = dice.between(1, 1024);
    question(dice, TimesInteger { input: operand(), factor, memory: MemoryConfig::DRAM }, vec![x])
}
