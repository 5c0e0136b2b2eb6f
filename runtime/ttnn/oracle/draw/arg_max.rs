//! Draws of `ttnn.argmax` of each row, into a buffer.

use bitnetc_plan::op::ArgMax;
use bitnetc_plan::{DType, MemoryConfig, TensorSpec};

use super::dice::Dice;
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("argmax", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let any = dice.between(500, 140_000);
    let columns = dice.pick(&[1024, 4000, 32000, 50304, 128_256, 131_080, 100_352, 151_936, any, any]);
    let rows = dice.batch_rows();
    let dtype = dice.pick(&[DType::Bf16, DType::Bf16, DType::F32]);
    let x = TensorSpec::row_major([1, 1, rows, columns], dtype, MemoryConfig::DRAM);
    let out = TensorSpec::row_major([1, 1, rows], DType::U32, MemoryConfig::DRAM);
    question(dice, ArgMax { input: operand(), output: operand() }, vec![x, out])
}
