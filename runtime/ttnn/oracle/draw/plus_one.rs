//! Draws of `ttnn.plus_one`.

use bitnetc_plan::op::PlusOne;
use bitnetc_plan::{DType, TensorSpec};

use super::dice::Dice;
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("plus_one", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let length = dice.between(1, 64);
    let shape = dice.pick(&[vec![length], vec![1, length], vec![1, 1, length]]);
    let dtype = dice.pick(&[DType::I32, DType::U32, DType::I32, DType::Bf16]);
    let x = TensorSpec::row_major(shape, dtype, dice.interleaved());
    let skip_negative = dice.chance(0.5);
    question(dice, PlusOne { buffer: operand(), skip_negative }, vec![x])
}
