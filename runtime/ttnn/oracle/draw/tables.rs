//! Calls on tables and small buffers.

use bitnetc_plan::op::{ArgMax, Embedding, PlusOne};
use bitnetc_plan::{Cores, DType, Layout, MemoryConfig, TILE, TensorSpec};

use super::dice::{Dice, WIDTHS};
use super::{operand, question};
use crate::oracle::Question;

pub fn embedding(dice: &mut Dice<'_>) -> Option<Question> {
    let columns = if dice.chance(0.5) { dice.pick(&WIDTHS[..10]) } else { dice.pick(&[32, 64, 96, 128, 256]) };
    let count = dice.pick(&[1, 2, 4, 8, 16, 24, 32, 32, 32, 64, 128, 512]);
    let memory = match dice.between(0, 9) {
        0..=6 => dice.interleaved(),
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

pub fn argmax(dice: &mut Dice<'_>) -> Option<Question> {
    let any = dice.between(500, 140_000);
    let columns = dice.pick(&[1024, 4000, 32000, 50304, 128_256, 131_080, 100_352, 151_936, any, any]);
    let rows = dice.batch_rows();
    let dtype = dice.pick(&[DType::Bf16, DType::Bf16, DType::F32]);
    let x = TensorSpec::row_major([1, 1, rows, columns], dtype, MemoryConfig::DRAM);
    let out = TensorSpec::row_major([1, 1, rows], DType::U32, MemoryConfig::DRAM);
    question(dice, ArgMax { input: operand(), output: operand() }, vec![x, out])
}

pub fn plus_one(dice: &mut Dice<'_>) -> Option<Question> {
    let length = dice.between(1, 64);
    let shape = dice.pick(&[vec![length], vec![1, length], vec![1, 1, length]]);
    let dtype = dice.pick(&[DType::I32, DType::U32, DType::I32, DType::Bf16]);
    let x = TensorSpec::row_major(shape, dtype, dice.interleaved());
    question(dice, PlusOne { buffer: operand() }, vec![x])
}
