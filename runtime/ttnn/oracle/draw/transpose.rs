//! Draws of `ttnn.transpose`.

use bitnetc_plan::TensorSpec;
use bitnetc_plan::op::Transpose;

use super::dice::Dice;
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("transpose", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let (heads, _, head_dim) = dice.heads();
    let shape = vec![1, dice.pick(&[1, 1, heads]), dice.pick(&[1, 2, 8, 32, 62, 64, 128]), head_dim];
    let (dtype, placed) = (dice.activations(), dice.interleaved());
    let x = TensorSpec::tile(shape, dtype, placed);
    let (dims, memory) = (dice.pick(&[(1, 2), (1, 2), (2, 1), (2, 3)]), dice.interleaved());
    question(dice, Transpose { input: operand(), dims, memory }, vec![x])
}
