//! Draws of `ttnn.to_layout`.

use bitnetc_plan::op::ToLayout;
use bitnetc_plan::{DType, Layout, MemoryConfig, TILE, TensorSpec};

use super::dice::{Dice, WIDTHS};
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("to_layout", draw), ("to_layout of groups", groups)];

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

/// Groups of logits made tiles, and their maxima made a row.
fn groups(dice: &mut Dice<'_>) -> Option<Question> {
    if dice.chance(0.5) {
        let shape = vec![1, 1, dice.between(1, 6000), dice.between(1, 34) * TILE];
        let x = TensorSpec::row_major(shape, DType::Bf16, dice.interleaved());
        let memory = dice.interleaved();
        return question(dice, ToLayout { input: operand(), layout: Layout::Tile, memory }, vec![x]);
    }
    let columns = dice.between(1, 20_000);
    let columns = dice.pick(&[columns, columns, 5344, 1336, 640]);
    let x = TensorSpec::tile([1, 1, 1, columns], DType::Bf16, dice.pick(&[MemoryConfig::L1, MemoryConfig::DRAM]));
    let memory = dice.interleaved();
    question(dice, ToLayout { input: operand(), layout: Layout::RowMajor, memory }, vec![x])
}
