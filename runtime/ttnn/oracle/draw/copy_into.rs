//! Draws of `ttnn.copy` into a buffer.

use bitnetc_plan::op::CopyInto;
use bitnetc_plan::{DType, MemoryConfig, TensorSpec};

use super::dice::Dice;
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("copy", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let count = dice.batch_rows();
    let shape = dice.pick(&[vec![1, 1, count], vec![1, count]]);
    let x = TensorSpec::row_major(shape, DType::U32, MemoryConfig::DRAM);
    question(dice, CopyInto { input: operand(), output: operand() }, vec![x.clone(), x])
}
