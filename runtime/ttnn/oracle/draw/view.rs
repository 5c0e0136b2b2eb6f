//! Draws of `ttnn.reshape`.

use bitnetc_plan::TILE;
use bitnetc_plan::op::View;

use super::dice::{Dice, tensor};
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("reshape", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let x = tensor(dice);
    let (rows, columns) = (u32::try_from(x.matrix_rows()).ok()?, x.columns());
    let fewer = rows.saturating_sub(dice.between(0, 31)).max(1);
    let padded = dice.between(1, 32);
    let shape = dice.pick(&[
        vec![1, 1, rows, columns],
        vec![1, rows, columns],
        vec![1, 1, fewer, columns],
        vec![1, rows / TILE, padded, columns],
        vec![1, 1, rows + TILE, columns],
        vec![1, 1, rows, columns + 1],
    ]);
    question(dice, View { input: operand(), shape }, vec![x])
}
