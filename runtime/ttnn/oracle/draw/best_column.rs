//! Draws of `ttnn.argmax` of each row.

use bitnetc_plan::op::BestColumn;
use bitnetc_plan::{DType, MemoryConfig, TensorSpec};

use super::dice::Dice;
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("argmax of parts", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let (rows, columns) = (dice.batch_rows(), dice.between(2, 1100));
    let columns = dice.pick(&[columns, 24, 167, 768, 800, 1024]);
    let shape = dice.pick(&[vec![1, 1, rows, columns], vec![1, rows, columns]]);
    let x = TensorSpec::row_major(shape, DType::Bf16, MemoryConfig::DRAM);
    question(dice, BestColumn { input: operand(), memory: MemoryConfig::DRAM }, vec![x])
}
