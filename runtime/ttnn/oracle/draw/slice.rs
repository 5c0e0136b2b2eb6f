//! Draws of `ttnn.slice`.

use bitnetc_plan::op::{Kept, Slice};
use bitnetc_plan::{DType, MemoryConfig, TILE, TensorSpec};

use super::dice::{Dice, WIDTHS};
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("slice", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    if dice.chance(0.4) { columns(dice) } else { rows(dice) }
}

fn rows(dice: &mut Dice<'_>) -> Option<Question> {
    let (rows, columns) = (dice.pick(&[32, 64, 128, 512, 2048, 4096, 8192]), dice.pick(&WIDTHS));
    let from = dice.between(0, rows / TILE - 1) * TILE;
    let start = from + u32::from(dice.chance(0.05));
    let end = start + dice.pick(&[32, 32, 32, 64, 17]);
    let end = if dice.chance(0.9) { end.min(rows) } else { end };
    let kept = if dice.chance(0.3) { Kept::LastTokenTile } else { Kept::Rows(start, end) };
    let count = if matches!(kept, Kept::LastTokenTile) { TILE } else { end.saturating_sub(start).max(1) };
    let memory = if dice.chance(0.5) { dice.width_shards(count, columns) } else { dice.interleaved() };
    let placed = if rows <= 128 { dice.interleaved() } else { MemoryConfig::DRAM };
    let x = TensorSpec::tile([1, 1, rows, columns], dice.activations(), placed);
    question(dice, Slice { input: operand(), kept, memory }, vec![x])
}

/// The first columns of logits: few of them, a vocabulary, or rows too long for L1.
fn columns(dice: &mut Dice<'_>) -> Option<Question> {
    let most = dice.pick(&[64, 2000, 5000, 50_000, 200_000, 500_000]);
    let columns = dice.between(2, most);
    let kept = columns - dice.between(1, 31.min(columns - 1));
    let kept = if dice.chance(0.05) { columns + 1 } else { kept };
    let rows = dice.pick(&[1, 1, 3, 8, 31, 32]);
    let dtype = if dice.chance(0.5) { DType::F32 } else { DType::Bf16 };
    let x = TensorSpec::row_major([1, 1, rows, columns], dtype, MemoryConfig::DRAM);
    question(dice, Slice { input: operand(), kept: Kept::Columns(kept), memory: MemoryConfig::DRAM }, vec![x])
}
