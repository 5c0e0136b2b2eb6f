//! Calls that move, convert and cut tensors.

use bitnetc_plan::op::{Concat, Rows, Slice, ToLayout, ToMemoryConfig, Transpose, Typecast, View};
use bitnetc_plan::{DType, Layout, MemoryConfig, TILE, TensorSpec};

use super::dice::{Dice, WIDTHS};
use super::elementwise::tensor;
use super::{operand, question};
use crate::oracle::Question;

pub fn to_memory_config(dice: &mut Dice<'_>) -> Option<Question> {
    if dice.chance(0.15) {
        let shape = vec![1, 1, dice.batch_rows(), dice.pick(&WIDTHS)];
        let (from, to) = dice.pick(&[(MemoryConfig::DRAM, MemoryConfig::L1), (MemoryConfig::L1, MemoryConfig::DRAM)]);
        let x = TensorSpec::row_major(shape, dice.pick(&[DType::Bf16, DType::I32, DType::U32, DType::F32]), from);
        return question(dice, ToMemoryConfig { input: operand(), memory: to }, vec![x]);
    }
    let x = tensor(dice);
    let memory = dice.placement(&x.shape);
    question(dice, ToMemoryConfig { input: operand(), memory }, vec![x])
}

pub fn to_layout(dice: &mut Dice<'_>) -> Option<Question> {
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

pub fn typecast(dice: &mut Dice<'_>) -> Option<Question> {
    const FLOATS: [DType; 4] = [DType::Bf16, DType::F32, DType::Bfp8, DType::Bfp4];
    let mut x = tensor(dice);
    x.dtype = dice.pick(&FLOATS);
    let memory = if dice.chance(0.7) { x.memory.clone() } else { dice.placement(&x.shape) };
    let dtype = dice.pick(&FLOATS);
    question(dice, Typecast { input: operand(), dtype, memory }, vec![x])
}

pub fn view(dice: &mut Dice<'_>) -> Option<Question> {
    let x = tensor(dice);
    let (rows, columns) = (u32::try_from(x.matrix_rows()).ok()?, x.columns());
    let fewer = rows.saturating_sub(dice.between(0, 31)).max(1);
    let padded = dice.between(1, 32);
    let shape = dice.pick(&[
        vec![1, 1, rows, columns],
        vec![1, rows, columns],
        vec![1, 1, fewer, columns],
        vec![1, rows / TILE, padded, columns],
        vec![1, 1, rows + TILE, columns],
        vec![1, 1, rows, columns + 1],
    ]);
    question(dice, View { input: operand(), shape }, vec![x])
}

pub fn transpose(dice: &mut Dice<'_>) -> Option<Question> {
    let (heads, _, head_dim) = dice.heads();
    let shape = vec![1, dice.pick(&[1, 1, heads]), dice.pick(&[1, 2, 8, 32, 62, 64, 128]), head_dim];
    let (dtype, placed) = (dice.activations(), dice.interleaved());
    let x = TensorSpec::tile(shape, dtype, placed);
    let (dims, memory) = (dice.pick(&[(1, 2), (1, 2), (2, 1), (2, 3)]), dice.interleaved());
    question(dice, Transpose { input: operand(), dims, memory }, vec![x])
}

pub fn slice(dice: &mut Dice<'_>) -> Option<Question> {
    let (rows, columns) = (dice.pick(&[32, 64, 128, 512, 2048]), dice.pick(&WIDTHS));
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

pub fn concat(dice: &mut Dice<'_>) -> Option<Question> {
    let (count, rows) = (dice.pick(&[2, 3, 4, 8, 8, 12, 16, 24]), dice.batch_rows());
    let columns = dice.pick(&[640, 1000, 4008, 8016, 16032, 32064, 2144, 4000, 12800]);
    let last = if dice.chance(0.6) { columns } else { dice.pick(&[32, 64, 640, 1000]) };
    if u64::from(columns) * count as u64 > 300_000 {
        return None;
    }
    let dtype = dice.pick(&[DType::Bf16, DType::Bf16, DType::F32]);
    let of = |columns| TensorSpec::row_major([1, 1, rows, columns], dtype, MemoryConfig::DRAM);
    let mut operands = vec![of(columns); count - 1];
    operands.push(of(last));
    let memory = MemoryConfig::DRAM;
    question(dice, Concat { inputs: vec![operand(); count], memory }, operands)
}
