//! Draws of `ttnn.transformer.paged_scaled_dot_product_attention_decode`.

use bitnetc_plan::op::SdpaDecode;
use bitnetc_plan::program::SdpaProgram;
use bitnetc_plan::{Cores, DType, MemoryConfig, TILE, TensorSpec};

use super::dice::Dice;
use super::paged::{BLOCKS, cache, integers};
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("paged_scaled_dot_product_attention_decode", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
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
