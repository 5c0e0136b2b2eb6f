//! Draws of `ttnn.abs`.

use bitnetc_plan::op::AbsOp;

use super::dice::{Dice, tensor};
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("abs", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let x = tensor(dice);
    let memory = if dice.chance(0.5) { x.memory.clone() } else { dice.placement(&x.shape) };
    question(dice, AbsOp { input: operand(), memory }, vec![x])
}
