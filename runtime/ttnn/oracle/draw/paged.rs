//! Operands of ops on the paged KV cache.

use bitnetc_plan::{DType, MemoryConfig, TensorSpec};

use super::dice::Dice;

/// Tokens of a cache block.
pub const BLOCKS: [u32; 3] = [32, 64, 128];

/// A cache of `blocks` blocks of `block` tokens.
pub fn cache(dice: &mut Dice<'_>, blocks: u32, kv_heads: u32, block: u32, head_dim: u32) -> TensorSpec {
    TensorSpec::tile([blocks, kv_heads, block, head_dim], dice.weights(), MemoryConfig::DRAM)
}

/// A tensor of positions or of pages.
pub fn integers(shape: impl Into<Vec<u32>>) -> TensorSpec {
    TensorSpec::row_major(shape, DType::I32, MemoryConfig::DRAM)
}
