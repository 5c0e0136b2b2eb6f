//! Draws of `ttnn.embedding` of a value.

use bitnetc_plan::op::GatherRows;
use bitnetc_plan::{DType, MemoryConfig, TensorSpec};

use super::dice::Dice;
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("embedding of a value", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let count = dice.batch_rows();
    let shape = dice.pick(&[vec![1, 1, count], vec![1, count]]);
    let indices = TensorSpec::row_major(shape, DType::U32, MemoryConfig::DRAM);
    let (rows, columns) = (dice.between(8, 6000), dice.between(1, 32) * 32);
    let table = TensorSpec::row_major([1, 1, rows, columns], DType::Bf16, dice.interleaved());
    question(
        dice,
        GatherRows { indices: operand(), table: operand(), memory: MemoryConfig::DRAM },
        vec![indices, table],
    )
}
