//! Draws of `ttnn.typecast`.

use bitnetc_plan::DType;
use bitnetc_plan::op::Typecast;

use super::dice::{Dice, tensor};
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("typecast", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    const FLOATS: [DType; 4] = [DType::Bf16, DType::F32, DType::Bfp8, DType::Bfp4];
    let mut x = tensor(dice);
    x.dtype = dice.pick(&FLOATS);
    let memory = if dice.chance(0.7) { x.memory.clone() } else { dice.placement(&x.shape) };
    let dtype = dice.pick(&FLOATS);
    question(dice, Typecast { input: operand(), dtype, memory }, vec![x])
}
