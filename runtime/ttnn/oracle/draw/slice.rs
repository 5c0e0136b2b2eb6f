//! Draws of `ttnn.slice`.

use bitnetc_plan::op::{Rows, Slice};
use bitnetc_plan::{MemoryConfig, TILE, TensorSpec};

use super::dice::{Dice, WIDTHS};
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("slice", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let (rows, columns) = (dice.pick(&[32, 64, 128, 512, 2048, 4096, 8192]), dice.pick(&WIDTHS));
    let from = dice.between(0, rows / TILE - 1) * TILE;
    let start = from + u32::from(dice.chance(0.05));
    let end = start + dice.pick(&[32, 32, 32, 64, 17]);
    let end = if dice.chance(0.9) { end.min(rows) } else { end };
    let range = if dice.chance(0.3) { Rows::LastTokenTile } else { Rows::Range(start, end) };
    let kept = match range {
        Rows::LastTokenTile => TILE,
        Rows::Range(start, end) => end.saturating_sub(start).max(1),
    };
    let memory = if dice.chance(0.5) { dice.width_shards(kept, columns) } else { dice.interleaved() };
    let placed = if rows <= 128 { dice.interleaved() } else { MemoryConfig::DRAM };
    let x = TensorSpec::tile([1, 1, rows, columns], dice.activations(), placed);
    question(dice, Slice { input: operand(), rows: range, memory }, vec![x])
}
