//! Draws of `ttnn.embedding`.

use bitnetc_plan::op::Embedding;
use bitnetc_plan::{Cores, DType, Layout, MemoryConfig, TILE, TensorSpec};

use super::dice::{Dice, WIDTHS};
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("embedding", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let columns = if dice.chance(0.5) { dice.pick(&WIDTHS[..10]) } else { dice.pick(&[32, 64, 96, 128, 256]) };
    let count = dice.pick(&[1, 2, 4, 8, 16, 24, 32, 32, 32, 64, 128, 512, 4096, 16_384]);
    let memory = match dice.between(0, 9) {
        0..=6 if count <= 512 => dice.interleaved(),
        0..=6 => MemoryConfig::DRAM,
        7 | 8 => dice.width_shards(count, columns),
        _ => {
            let cores = Cores::row_major(count.div_ceil(TILE), dice.card.grid);
            MemoryConfig::height(cores, [TILE, columns])
        }
    };
    let shape = dice.pick(&[vec![1, count], vec![1, 1, count]]);
    let indices = TensorSpec::row_major(shape, DType::U32, MemoryConfig::DRAM);
    let rows = dice.pick(&[4096, 32000, 128_256]);
    let table = TensorSpec::row_major([1, 1, rows, columns], DType::Bf16, MemoryConfig::DRAM);
    let op = Embedding { indices: operand(), table: operand(), layout: Layout::Tile, memory };
    question(dice, op, vec![indices, table])
}
