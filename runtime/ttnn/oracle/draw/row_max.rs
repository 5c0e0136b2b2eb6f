//! Draws of `ttnn.max` of each row.

use bitnetc_plan::op::RowMax;

use super::dice::{Dice, tensor};
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("max", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let x = tensor(dice);
    let memory = dice.interleaved();
    question(dice, RowMax { input: operand(), memory }, vec![x])
}
