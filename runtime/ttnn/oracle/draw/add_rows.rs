//! Draws of `add_rows`.

use bitnetc_plan::op::AddRows;
use bitnetc_plan::{DType, Fingerprint, TensorSpec, kernels};

use super::dice::{Dice, WIDTHS};
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("add_rows", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let columns = dice.pick(&WIDTHS);
    let rows = dice.batch_rows();
    let a = TensorSpec::tile([1, 1, rows, columns], DType::Bf16, dice.width_shards(rows, columns));
    let b = TensorSpec { dtype: DType::F32, ..a.clone() };
    let factors = TensorSpec::tile([1, 1, rows, 1], DType::F32, dice.interleaved());
    let kernels = Fingerprint(kernels::ADD_ROWS.fingerprint());
    let (floor, scale) = (1e-5.into(), 0.007_874.into());
    let op = AddRows { a: operand(), b: operand(), factors: operand(), floor, scale, kernels };
    question(dice, op, vec![a, b, factors])
}
