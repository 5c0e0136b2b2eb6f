//! Draws of `ttnn.slice`.

use bitnetc_plan::op::SliceAt;
use bitnetc_plan::{DType, MemoryConfig, TILE, TensorSpec};

use super::dice::{Dice, WIDTHS};
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("slice_at", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let (rows, columns) = (dice.pick(&[32, 64, 96, 128, 512, 2048, 4096, 8192]), dice.pick(&WIDTHS));
    let parts = if dice.chance(0.8) { rows / TILE } else { dice.pick(&[1, 2, 3, 4, 8, 64]) };
    let kept = rows / parts.clamp(1, rows);
    let memory = if dice.chance(0.5) { dice.width_shards(kept, columns) } else { dice.interleaved() };
    let placed = if rows <= 128 { dice.interleaved() } else { MemoryConfig::DRAM };
    let x = TensorSpec::tile([1, 1, rows, columns], dice.activations(), placed);
    let shape = if dice.chance(0.9) { vec![4] } else { vec![1, 4] };
    let indices = TensorSpec::row_major(shape, DType::U32, MemoryConfig::DRAM);
    let op = SliceAt { input: operand(), starts: operand(), ends: operand(), parts, memory };
    question(dice, op, vec![x, indices.clone(), indices])
}
