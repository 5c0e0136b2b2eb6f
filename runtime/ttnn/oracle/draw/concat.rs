//! Draws of `ttnn.concat`.

use bitnetc_plan::op::Concat;
use bitnetc_plan::{DType, MemoryConfig, TensorSpec};

use super::dice::Dice;
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("concat", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let (count, rows) = (dice.pick(&[2, 3, 4, 8, 8, 12, 16, 24]), dice.batch_rows());
    let columns = dice.pick(&[640, 1000, 4008, 8016, 16032, 32064, 2144, 4000, 12800]);
    let last = if dice.chance(0.6) { columns } else { dice.pick(&[32, 64, 640, 1000]) };
    if u64::from(columns) * count as u64 > 300_000 {
        return None;
    }
    let dtype = dice.pick(&[DType::Bf16, DType::Bf16, DType::F32]);
    let of = |columns| TensorSpec::row_major([1, 1, rows, columns], dtype, MemoryConfig::DRAM);
    let mut operands = vec![of(columns); count - 1];
    operands.push(of(last));
    let memory = MemoryConfig::DRAM;
    question(dice, Concat { inputs: vec![operand(); count], memory }, operands)
}
