//! Draws of `ttnn.sampling`, into a buffer.

use bitnetc_plan::op::Sampling;
use bitnetc_plan::{DType, MemoryConfig, TILE, TensorSpec};

use super::dice::Dice;
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("sampling", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let users = dice.batch_rows();
    let columns = dice.pick(&[TILE, TILE, TILE, TILE, TILE, 64, 31]);
    let list = |shape: &[u32], dtype| TensorSpec::row_major(shape, dtype, MemoryConfig::DRAM);
    let operands = vec![
        TensorSpec::tile([1, 1, users, columns], DType::Bf16, MemoryConfig::DRAM),
        list(&[1, 1, users, columns], DType::U32),
        list(&[users], DType::U32),
        list(&[users], DType::Bf16),
        list(&[users], DType::Bf16),
        if dice.chance(0.9) { list(&[1, 1, 1, users], DType::U32) } else { list(&[1, 1, users], DType::U32) },
    ];
    let of = operand;
    let op = Sampling { values: of(), tokens: of(), k: of(), p: of(), inverse_temperature: of(), output: of() };
    question(dice, op, operands)
}
