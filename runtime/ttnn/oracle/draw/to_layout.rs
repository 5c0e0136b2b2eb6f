//! Draws of `ttnn.to_layout`.

use bitnetc_plan::op::ToLayout;
use bitnetc_plan::{Layout, TensorSpec};

use super::dice::{Dice, WIDTHS};
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("to_layout", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let columns = match dice.chance(0.5) {
        true => dice.pick(&WIDTHS),
        false => dice.pick(&[16032, 8016, 32064, 4008, 1000]),
    };
    let rows = dice.batch_rows();
    let memory = if dice.chance(0.93) { dice.width_shards(rows, columns) } else { dice.interleaved() };
    let x = TensorSpec::tile([1, 1, rows, columns], dice.activations(), memory);
    let memory = dice.interleaved();
    question(dice, ToLayout { input: operand(), layout: Layout::RowMajor, memory }, vec![x])
}
