//! Draws of no op: whether a tensor can be allocated at all.

use bitnetc_plan::{Cores, DType, Layout, Memory, MemoryConfig, Strategy, TILE, TensorSpec};

use super::Rule;
use super::dice::{Dice, WIDTHS};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("placement", draw)];

/// A tensor of any shape, type, layout and placement.
fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let mut shape = vec![1, 1, dice.batch_rows(), dice.pick(&WIDTHS)];
    if dice.chance(0.4) {
        let (heads, _, head_dim) = dice.heads();
        shape = vec![1, dice.between(1, 32), heads, head_dim];
    }
    if dice.chance(0.2) {
        shape[3] = dice.between(1, 9000);
    }
    let all = [DType::Bf16, DType::Bfp8, DType::Bfp4, DType::F32, DType::U32, DType::I32];
    let (dtype, tiled) = (dice.pick(&all), dice.chance(0.75));
    let mut memory = dice.placement(&shape);
    if dice.chance(0.15) {
        let banks = dice.card.dram.banks + u32::from(dice.chance(0.1));
        let columns = shape[3].div_ceil(TILE * banks) * TILE;
        memory = MemoryConfig::dram_width(banks, [shape[1] * shape[2].next_multiple_of(TILE), columns]);
    }
    break_shards(dice, &mut memory);
    let layout = if tiled { Layout::Tile } else { Layout::RowMajor };
    Some(Question::Place(TensorSpec { shape, dtype, layout, memory }))
}

/// One in five times, shards of another size, on other cores or cut the other way.
fn break_shards(dice: &mut Dice<'_>, config: &mut MemoryConfig) {
    let MemoryConfig::Sharded { memory, strategy, cores, shard } = config else { return };
    if !dice.chance(0.2) {
        return;
    }
    match dice.between(0, 3) {
        0 => shard[0] += dice.pick(&[1, 32]),
        1 => shard[1] = dice.pick(&[shard[1] + 32, shard[1] + 1, (shard[1] / 2).max(1)]),
        2 => *strategy = if *strategy == Strategy::Width { Strategy::Height } else { Strategy::Width },
        _ if *memory == Memory::L1 => {
            let (x, y) = dice.card.grid;
            *cores = dice.pick(&[
                Cores::row_major(1, (x, y)),
                Cores::rectangle(0, 0, x, y),
                Cores::rectangle(0, 0, x + 1, y),
            ]);
        }
        _ => {}
    }
}
