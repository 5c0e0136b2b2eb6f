//! Draws of `ttnn.reshape` of rows.

use bitnetc_plan::op::Reshape;
use bitnetc_plan::{DType, MemoryConfig, TensorSpec};

use super::dice::Dice;
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("reshape rows", logits), ("reshape a row", row)];

/// Logits cut into groups of columns.
fn logits(dice: &mut Dice<'_>) -> Option<Question> {
    let columns = dice.pick(&[1024, 32_000, 32_768, 50_304, 100_352, 128_256, 151_936]);
    let rows = dice.batch_rows();
    let mut group = dice.divisor(columns, 2048);
    if dice.chance(0.1) {
        group = dice.between(1, 2048);
    }
    let x = TensorSpec::row_major([1, 1, rows, columns], DType::Bf16, MemoryConfig::DRAM);
    let shape = vec![1, 1, rows * columns / group, group];
    let memory = dice.pick(&[MemoryConfig::DRAM, MemoryConfig::L1]);
    question(dice, Reshape { input: operand(), shape, memory }, vec![x])
}

/// A row of maxima cut into those of each user.
fn row(dice: &mut Dice<'_>) -> Option<Question> {
    let (users, groups) = (dice.between(2, 32), dice.between(2, 700));
    let x = TensorSpec::row_major([1, 1, 1, users * groups], DType::Bf16, MemoryConfig::DRAM);
    let shape = vec![1, 1, users, groups];
    question(dice, Reshape { input: operand(), shape, memory: MemoryConfig::DRAM }, vec![x])
}
