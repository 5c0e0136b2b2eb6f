//! Rotary embedding, the paged KV cache, attention.

use bitnetc_plan::op::{CacheFill, CacheUpdate, CacheUpdateOne, Rotary, RotaryDecode, RotaryFused, Sdpa, SdpaDecode};
use bitnetc_plan::program::SdpaProgram;
use bitnetc_plan::{Cores, DType, MemoryConfig, TILE, TensorSpec};

use super::dice::Dice;
use super::{operand, question};
use crate::oracle::Question;

const BLOCKS: [u32; 3] = [32, 64, 128];

pub fn rotary_fused(dice: &mut Dice<'_>) -> Option<Question> {
    let ((heads, kv_heads, head_dim), users) = (dice.heads(), dice.batch_rows());
    let all = dice.card.cores();
    if 2 * users > all {
        return None;
    }
    let k_first = if dice.chance(0.9) { users } else { dice.between(0, all - users) };
    let repeated = dice.pick(&[2 * users, 2 * users, 2 * users, all, users]);
    let (q, k) = (dice.users(0, users, heads, head_dim), dice.users(k_first, users, kv_heads, head_dim));
    let angles = dice.users(0, 2 * users, 32, head_dim);
    let on = Cores::row_major(repeated, dice.card.grid);
    let trans = TensorSpec::tile([1, 1, TILE * repeated, TILE], DType::Bf16, MemoryConfig::height(on, [TILE, TILE]));
    let compute = dice.compute();
    let op = RotaryFused { q: operand(), k: operand(), cos: operand(), sin: operand(), trans: operand(), compute };
    question(dice, op, vec![q, k, angles.clone(), angles, trans])
}

pub fn rotary_decode(dice: &mut Dice<'_>) -> Option<Question> {
    let ((heads, kv_heads, head_dim), users) = (dice.heads(), dice.batch_rows());
    let all = dice.card.cores();
    let heads = dice.pick(&[heads, kv_heads]);
    let first = if dice.chance(0.8) { 0 } else { dice.between(0, all - users) };
    let angles_first = if dice.chance(0.9) { first } else { 0 };
    let angles_users = dice.pick(&[users, users, users, users, (2 * users).min(all - angles_first)]);
    let repeated = dice.pick(&[users, users, all, all, users.div_ceil(2)]);
    let input = dice.users(first, users, heads, head_dim);
    let angles = dice.users(angles_first, angles_users, 32, head_dim);
    let on = Cores::row_major(repeated, dice.card.grid);
    let trans = TensorSpec::tile([1, 1, TILE * repeated, TILE], DType::Bf16, MemoryConfig::height(on, [TILE, TILE]));
    let compute = dice.compute();
    let op = RotaryDecode { input: operand(), cos: operand(), sin: operand(), trans: operand(), compute };
    question(dice, op, vec![input, angles.clone(), angles, trans])
}

pub fn rotary(dice: &mut Dice<'_>) -> Option<Question> {
    let ((heads, kv_heads, head_dim), rows) = (dice.heads(), dice.pick(&[32, 64, 128, 256, 512, 1024, 2048]));
    let heads = dice.pick(&[heads, kv_heads]);
    let angle_rows = dice.pick(&[rows, rows, rows, 4096, rows / 2]);
    let memory = if rows < 300 { dice.interleaved() } else { MemoryConfig::DRAM };
    let input = TensorSpec::tile([1, heads, rows, head_dim], DType::Bf16, MemoryConfig::DRAM);
    let angles = TensorSpec::tile([1, 1, angle_rows, head_dim], DType::Bf16, MemoryConfig::DRAM);
    let trans = TensorSpec::tile([1, 1, TILE, TILE], DType::Bf16, MemoryConfig::DRAM);
    let compute = dice.compute();
    let op = Rotary { input: operand(), cos: operand(), sin: operand(), trans: operand(), compute, memory };
    question(dice, op, vec![input, angles.clone(), angles, trans])
}

/// A cache of `blocks`, positions and page table of `users`.
fn cache(dice: &mut Dice<'_>, blocks: u32, kv_heads: u32, block: u32, head_dim: u32) -> TensorSpec {
    TensorSpec::tile([blocks, kv_heads, block, head_dim], dice.weights(), MemoryConfig::DRAM)
}

fn integers(shape: impl Into<Vec<u32>>) -> TensorSpec {
    TensorSpec::row_major(shape, DType::I32, MemoryConfig::DRAM)
}

pub fn cache_update(dice: &mut Dice<'_>) -> Option<Question> {
    let ((_, kv_heads, head_dim), users) = (dice.heads(), dice.batch_rows());
    let all = dice.card.cores();
    if 2 * users > all {
        return None;
    }
    let (block, per_user) = (dice.pick(&BLOCKS), dice.pick(&[1, 2, 4, 16, 33, 64]));
    let blocks = if dice.chance(0.8) { users * per_user } else { per_user.saturating_sub(1).max(1) };
    let k_cache = cache(dice, blocks, kv_heads, block, head_dim);
    let v_cache = if dice.chance(0.95) { k_cache.clone() } else { cache(dice, blocks, kv_heads, block, head_dim) };
    let k_first = if dice.chance(0.9) { users } else { dice.between(0, all - users) };
    let (k, v) = (dice.users(k_first, users, kv_heads, head_dim), dice.users(0, users, kv_heads, head_dim));
    let positions = integers([users + u32::from(dice.chance(0.08))]);
    let op = CacheUpdate {
        k_cache: operand(),
        k: operand(),
        v_cache: operand(),
        v: operand(),
        positions: operand(),
        page_table: operand(),
    };
    question(dice, op, vec![k_cache, k, v_cache, v, positions, integers([users, per_user])])
}

pub fn cache_update_one(dice: &mut Dice<'_>) -> Option<Question> {
    let ((_, kv_heads, head_dim), users) = (dice.heads(), dice.batch_rows());
    let (block, per_user) = (dice.pick(&BLOCKS), dice.pick(&[1, 2, 4, 16, 33, 64]));
    let blocks = if dice.chance(0.8) { users * per_user } else { per_user.saturating_sub(1).max(1) };
    let cache = cache(dice, blocks, kv_heads, block, head_dim);
    let first = if dice.chance(0.8) { 0 } else { dice.between(0, dice.card.cores() - users) };
    let input = dice.users(first, users, kv_heads, head_dim);
    let positions = integers([users + u32::from(dice.chance(0.08))]);
    let op = CacheUpdateOne { cache: operand(), input: operand(), positions: operand(), page_table: operand() };
    question(dice, op, vec![cache, input, positions, integers([users, per_user])])
}

pub fn cache_fill(dice: &mut Dice<'_>) -> Option<Question> {
    let ((_, kv_heads, head_dim), rows) = (dice.heads(), dice.pick(&[32, 64, 100, 128, 512, 1000, 1024, 2048]));
    let (block, per_user, users) = (dice.pick(&BLOCKS), dice.pick(&[8, 16, 64]), dice.batch_rows());
    let cache = cache(dice, users * per_user, kv_heads, block, head_dim);
    let dtype = if dice.chance(0.85) { cache.dtype } else { dice.weights() };
    let input = TensorSpec::tile([1, kv_heads, rows, head_dim], dtype, MemoryConfig::DRAM);
    let op = CacheFill { cache: operand(), input: operand(), page_table: operand() };
    question(dice, op, vec![cache, input, integers([users, per_user])])
}

pub fn sdpa_decode(dice: &mut Dice<'_>) -> Option<Question> {
    let ((heads, kv_heads, head_dim), users) = (dice.heads(), dice.batch_rows());
    let (block, per_user) = (dice.pick(&BLOCKS), dice.pick(&[4, 8, 16, 64]));
    let (x, y) = dice.card.grid;
    let grid = dice.pick(&[(x, y), (x, y), (8, 8), (8, 4), (8, 1), (8, 5), (5, 5)]);
    let k_chunk = dice.pick(&[0, 32, 64, 128, 128, 256, 96]);
    let cache = cache(dice, users * per_user, kv_heads, block, head_dim);
    let q_memory = match dice.chance(0.6) && users <= grid.0 * grid.1 {
        true => MemoryConfig::height(Cores::row_major(users, grid), [heads.next_multiple_of(TILE), head_dim]),
        false => MemoryConfig::DRAM,
    };
    let q = TensorSpec::tile([1, users, heads, head_dim], DType::Bf16, q_memory);
    let (compute, memory) = (dice.compute(), dice.interleaved());
    let op = SdpaDecode {
        q: operand(),
        k_cache: operand(),
        v_cache: operand(),
        positions: operand(),
        page_table: operand(),
        scale: 0.1.into(),
        program: SdpaProgram { grid, q_chunk: 0, k_chunk },
        compute,
        memory,
    };
    question(dice, op, vec![q, cache.clone(), cache, integers([users]), integers([users, per_user])])
}

pub fn sdpa(dice: &mut Dice<'_>) -> Option<Question> {
    let (heads, kv_heads, head_dim) = dice.heads();
    let rows = dice.pick(&[32, 64, 96, 128, 256, 384, 512, 1000, 1024, 2048, 4096]);
    let (x, y) = dice.card.grid;
    let program = SdpaProgram {
        grid: dice.pick(&[(x, y), (8, 8), (8, 4), (4, 4), (7, 7)]),
        q_chunk: dice.pick(&[32, 64, 96, 128, 256]),
        k_chunk: dice.pick(&[32, 64, 96, 128, 256, 512]),
    };
    let q_dtype = dice.pick(&[DType::Bf16, DType::Bf16, DType::Bfp8]);
    let q = TensorSpec::tile([1, heads, rows, head_dim], q_dtype, MemoryConfig::DRAM);
    let k = TensorSpec::tile([1, kv_heads, rows, head_dim], dice.weights(), MemoryConfig::DRAM);
    let (compute, memory) = (dice.compute(), MemoryConfig::DRAM);
    let op = Sdpa { q: operand(), k: operand(), v: operand(), scale: 0.1.into(), program, compute, memory };
    question(dice, op, vec![q, k.clone(), k])
}
