//! Draws of `ttnn.transpose`.

use bitnetc_plan::op::Transpose;
use bitnetc_plan::{DType, TensorSpec};

use super::dice::Dice;
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("transpose", draw), ("transpose of a column", column)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let (heads, _, head_dim) = dice.heads();
    let shape = vec![1, dice.pick(&[1, 1, heads]), dice.pick(&[1, 2, 8, 32, 62, 64, 128]), head_dim];
    let (dtype, placed) = (dice.activations(), dice.interleaved());
    let x = TensorSpec::tile(shape, dtype, placed);
    let (dims, memory) = (dice.pick(&[(1, 2), (1, 2), (2, 1), (2, 3)]), dice.interleaved());
    question(dice, Transpose { input: operand(), dims, memory }, vec![x])
}

fn column(dice: &mut Dice<'_>) -> Option<Question> {
    let x = TensorSpec::tile([1, 1, dice.between(1, 6000), 1], DType::Bf16, dice.interleaved());
    let memory = dice.interleaved();
    question(dice, Transpose { input: operand(), dims: (2, 3), memory }, vec![x])
}
