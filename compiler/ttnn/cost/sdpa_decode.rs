//! Price of attention in decode.

use bitnetc_plan::op::SdpaDecode;
use bitnetc_plan::ttnn::Split;
use bitnetc_plan::{TILE, TensorSpec};

use super::attention::{self, Work};
use super::laws::tile_cycles;
use super::{Kernel, Priced};

/// Attention of one token per user over the cache up to the position asked for.
///
/// TT-NN divides the grid among users and heads as [`Split`] says. The chunks of a head go to its cores as evenly as possible. Cores
/// without a chunk idle, and the results of the others are combined two by two, in as many rounds as that takes (`sdpa_flash_decode.cpp`).
pub fn kernel(args: &SdpaDecode, priced: &Priced<'_>) -> Kernel {
    let (operands, c, position) = (priced.operands, priced.constants(), priced.cx.position);
    let (q, cache) = (operands[0], operands[1]);
    let (users, kv_heads) = (q.shape[1], cache.shape[1]);
    let (x, y) = args.program.grid;
    // The rule refuses a grid that cannot be split; a call that is only priced is taken to have one user per core.
    let split = Split::of(x * y, users, kv_heads).unwrap_or(Split { cores_per_head: 1, heads_per_core: kv_heads });
    let chunk = args.program.k_chunk.max(TILE);
    let chunks = position.saturating_add(1).div_ceil(chunk);
    let active = chunks.min(split.cores_per_head).max(1);
    let of_a_core = u64::from(split.heads_per_core) * u64::from(chunks.div_ceil(active));
    let tiles = [u64::from(q.rows().div_ceil(TILE)), u64::from(chunk / TILE), cache.tile_columns()];
    let work = Work::of(of_a_core, tiles, cache.dtype, tile_cycles(c, args.compute.fidelity));
    let streamed = priced.bytes as f64 / (c.attention.gb_per_s * 1000.0);
    attention::kernel(&work, streamed, active.next_power_of_two().ilog2(), c)
}

/// The number of `cores` that get no head of any user, whatever the context.
pub fn idle(args: &SdpaDecode, operands: &[&TensorSpec], cores: u32) -> u32 {
    let (users, kv_heads) = (operands[0].shape[1], operands[1].shape[1]);
    let split = Split::of(args.program.grid.0 * args.program.grid.1, users, kv_heads);
    let busy = split.map_or(0, |s| users * s.cores_per_head * kv_heads.div_ceil(s.heads_per_core.max(1)));
    cores.saturating_sub(busy)
}

/// Bytes of keys and values that decode reads at a position: whole chunks, every user's, every kv head's.
pub fn reads(args: &SdpaDecode, operands: &[&TensorSpec], position: u32) -> u64 {
    let (users, cache) = (u64::from(operands[0].shape[1]), operands[1]);
    let chunk = u64::from(args.program.k_chunk.max(TILE));
    let tiles = (u64::from(position) + 1).next_multiple_of(chunk) / u64::from(TILE) * cache.tile_columns();
    2 * users * u64::from(cache.shape[1]) * tiles * cache.dtype.tile_bytes()
}

#[cfg(test)]
mod tests;
