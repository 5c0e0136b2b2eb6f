//! Draws of `ttnn.add` of integers.

use bitnetc_plan::op::AddIntegers;
use bitnetc_plan::{DType, MemoryConfig, TensorSpec};

use super::dice::Dice;
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("add integers", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let count = dice.batch_rows();
    let shapes = [vec![count], vec![1, count], vec![1, 1, count]];
    let row = |shape| TensorSpec::row_major(shape, DType::U32, MemoryConfig::DRAM);
    let (a, b) = (row(dice.pick(&shapes)), row(dice.pick(&shapes)));
    question(dice, AddIntegers { a: operand(), b: operand(), memory: MemoryConfig::DRAM }, vec![a, b])
}
