//! Draws of `ttnn.concat`.

use bitnetc_plan::op::Concat;
use bitnetc_plan::{DType, MemoryConfig, TensorSpec};

use super::dice::Dice;
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("concat", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    if dice.chance(0.4) {
        return tiled(dice);
    }
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

/// Projections of queries, keys and values.
fn tiled(dice: &mut Dice<'_>) -> Option<Question> {
    let rows = if dice.chance(0.5) { dice.batch_rows() } else { dice.pick(&[64, 128, 512]) };
    let dtype = dice.pick(&[DType::Bf16, DType::Bf16, DType::F32]);
    let place = dice.interleaved();
    let mut operands = Vec::new();
    for _ in 0..dice.pick(&[2, 3, 3]) {
        let columns = dice.pick(&[32, 64, 128, 640, 2560]);
        let memory = if dice.chance(0.9) { place.clone() } else { dice.interleaved() };
        operands.push(TensorSpec::tile([1, 1, rows, columns], dtype, memory));
    }
    let memory = dice.interleaved();
    question(dice, Concat { inputs: vec![operand(); operands.len()], memory }, operands)
}
