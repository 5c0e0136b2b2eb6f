//! Draws of `quantize_rows`.

use bitnetc_plan::op::QuantizeRows;
use bitnetc_plan::{DType, Fingerprint, TensorSpec, kernels};

use super::dice::{Dice, WIDTHS};
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("quantize_rows", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let columns = dice.pick(&WIDTHS);
    let rows = dice.batch_rows();
    let x = TensorSpec::tile([1, 1, rows, columns], DType::Bf16, dice.width_shards(rows, columns));
    let kernels = Fingerprint(kernels::QUANTIZE_ROWS.fingerprint());
    question(dice, QuantizeRows { input: operand(), floor: 1e-5.into(), kernels }, vec![x])
}
