//! Heads out of the fused projection and back.

use bitnetc_plan::op::{ConcatHeads, ConcatHeadsDecode, CreateHeads, CreateHeadsDecode};
use bitnetc_plan::{Cores, DType, MemoryConfig, TILE, TensorSpec};

use super::dice::Dice;
use super::{operand, question};
use crate::oracle::Question;

/// A grid of the card, often the whole one, sometimes not at its corner.
fn grid(dice: &mut Dice<'_>) -> Cores {
    let (x, y) = dice.card.grid;
    let (width, height) = dice.pick(&[(x, y), (x, y), (8, 8), (8, 4), (4, 8), (5, 4), (8, 2), (6, 5)]);
    let at = u32::from(dice.chance(0.15));
    Cores::rectangle(at, at, width, height)
}

pub fn create_decode(dice: &mut Dice<'_>) -> Option<Question> {
    let ((heads, kv_heads, head_dim), rows) = (dice.heads(), dice.batch_rows());
    let columns = (heads + 2 * kv_heads) * head_dim;
    let half = if head_dim.is_multiple_of(64) { head_dim / 2 } else { head_dim };
    let width = dice.pick(&[head_dim, head_dim, half, 32, 64, 128]);
    let count = columns.div_ceil(width);
    if count > dice.card.cores() {
        return None;
    }
    let memory = MemoryConfig::width(dice.cores(count), [TILE, width]);
    let memory = if dice.chance(0.05) { dice.interleaved() } else { memory };
    let input = TensorSpec::tile([1, 1, rows, columns], DType::Bf16, memory);
    let memory = MemoryConfig::height(grid(dice), [TILE, head_dim]);
    let overlap = dice.chance(0.4);
    question(dice, CreateHeadsDecode { input: operand(), heads, kv_heads, overlap, memory }, vec![input])
}

/// Rows of a prompt.
fn prompt(dice: &mut Dice<'_>) -> u32 {
    dice.pick(&[32, 64, 96, 128, 256, 384, 512, 1000, 1024, 2048])
}

pub fn create(dice: &mut Dice<'_>) -> Option<Question> {
    let ((heads, kv_heads, head_dim), rows) = (dice.heads(), prompt(dice));
    let memory = if rows < 500 { dice.interleaved() } else { MemoryConfig::DRAM };
    let columns = (heads + 2 * kv_heads) * head_dim;
    let input = TensorSpec::tile([1, 1, rows, columns], dice.activations(), MemoryConfig::DRAM);
    question(dice, CreateHeads { input: operand(), heads, kv_heads, memory }, vec![input])
}

pub fn concat_decode(dice: &mut Dice<'_>) -> Option<Question> {
    let ((heads, _, head_dim), users) = (dice.heads(), dice.batch_rows());
    let last = dice.card.cores() - users;
    let first = if dice.chance(0.2) { dice.between(0, last) } else { 0 };
    let cores = grid(dice);
    let input = match dice.chance(0.5) {
        true => dice.users(first, users, heads, head_dim),
        false => {
            let on = Cores::row_major(users, (cores.extent().0, dice.card.grid.1));
            let shard = [heads.next_multiple_of(TILE), head_dim];
            TensorSpec::tile([1, users, heads, head_dim], DType::Bf16, MemoryConfig::height(on, shard))
        }
    };
    question(dice, ConcatHeadsDecode { input: operand(), heads, cores }, vec![input])
}

pub fn concat(dice: &mut Dice<'_>) -> Option<Question> {
    let ((heads, _, head_dim), rows) = (dice.heads(), prompt(dice));
    let memory = if rows < 500 { dice.interleaved() } else { MemoryConfig::DRAM };
    let input = TensorSpec::tile([1, heads, rows, head_dim], dice.activations(), MemoryConfig::DRAM);
    question(dice, ConcatHeads { input: operand(), memory }, vec![input])
}
