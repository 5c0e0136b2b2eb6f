//! Draws of `ttnn.transformer.chunked_scaled_dot_product_attention`.

use bitnetc_plan::op::Sdpa;
use bitnetc_plan::program::SdpaProgram;
use bitnetc_plan::{DType, MemoryConfig, TensorSpec};

use super::dice::Dice;
use super::heads::prompt;
use super::paged::{BLOCKS, cache, integers};
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("chunked_scaled_dot_product_attention", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let (heads, kv_heads, head_dim) = dice.heads();
    let rows = prompt(dice, heads.max(kv_heads) * head_dim);
    let (x, y) = dice.card.grid;
    let program = SdpaProgram {
        grid: dice.pick(&[(x, y), (8, 8), (8, 4), (4, 4), (7, 7)]),
        q_chunk: dice.pick(&[32, 64, 96, 128, 256]),
        k_chunk: dice.pick(&[32, 64, 96, 128, 256, 512]),
    };
    let q_dtype = dice.pick(&[DType::Bf16, DType::Bf16, DType::Bfp8]);
    let q = TensorSpec::tile([1, heads, rows, head_dim], q_dtype, MemoryConfig::DRAM);
    let block = dice.pick(&BLOCKS);
    let enough = rows.div_ceil(block).next_multiple_of(8);
    let pages = if dice.chance(0.9) { enough * dice.pick(&[1, 1, 2, 4]) } else { dice.pick(&[1, 4, 8, 12]) };
    let k = cache(dice, dice_blocks(pages), kv_heads, block, head_dim);
    let v = if dice.chance(0.95) { k.clone() } else { cache(dice, dice_blocks(pages), kv_heads, block, head_dim) };
    let (compute, memory) = (dice.compute(), MemoryConfig::DRAM);
    let op = Sdpa {
        q: operand(),
        k_cache: operand(),
        v_cache: operand(),
        pages: operand(),
        start: operand(),
        scale: 0.1.into(),
        program,
        compute,
        memory,
    };
    question(dice, op, vec![q, k, v, integers([1, pages]), integers([1])])
}

/// Blocks of a cache: what one user may have, and no more than a mock card's DRAM takes easily.
const fn dice_blocks(pages: u32) -> u32 {
    if pages < 256 { pages } else { 256 }
}
