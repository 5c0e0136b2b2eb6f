//! Draws of `ttnn.topk` of each row, and of what plans do with the columns that it finds.

use bitnetc_plan::op::{ToLayout, TopK, Typecast};
use bitnetc_plan::{DType, Layout, MemoryConfig, TILE, TensorSpec};

use super::dice::Dice;
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("topk", draw), ("topk columns", columns)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let power = 1 << dice.between(5, 17);
    let any = dice.between(1, 5000) * TILE;
    let wide = dice.pick(&[32_000, 32_064, 65_536, 65_568, 100_352, 128_256, 131_072, 151_936]);
    let mut columns = dice.pick(&[power, power, any, wide]);
    if dice.chance(0.05) {
        columns += dice.between(1, 31);
    }
    let x = TensorSpec::tile([1, 1, dice.batch_rows(), columns], dice.activations(), MemoryConfig::DRAM);
    let k = dice.pick(&[32, 32, 32, 32, 32, 1, 64]);
    let memory = if dice.chance(0.95) { MemoryConfig::DRAM } else { MemoryConfig::L1 };
    question(dice, TopK { input: operand(), k, memory }, vec![x])
}

/// To rows, of u16 or u32, or widened.
fn columns(dice: &mut Dice<'_>) -> Option<Question> {
    let columns = dice.pick(&[TILE, TILE, TILE, TILE, 64, 7]);
    let shape = [1, 1, dice.batch_rows(), columns];
    let memory = if dice.chance(0.9) { MemoryConfig::DRAM } else { MemoryConfig::L1 };
    if dice.chance(0.5) {
        let x = TensorSpec::row_major(shape, DType::U16, MemoryConfig::DRAM);
        return question(dice, Typecast { input: operand(), dtype: DType::U32, memory }, vec![x]);
    }
    let x = TensorSpec::tile(shape, dice.pick(&[DType::U16, DType::U32]), MemoryConfig::DRAM);
    question(dice, ToLayout { input: operand(), layout: Layout::RowMajor, memory }, vec![x])
}
