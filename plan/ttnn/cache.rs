//! The paged KV cache `[blocks, kv_heads, block, head_dim]`: `paged_fused_update_cache` and `paged_update_cache` (decode), `paged_fill_cache`
//! (prefill).

use super::users::{require_users, user_cores, whole_tiles};
use super::{Answer, Checks, Outcome, operands};
use crate::op::{CacheFill, CacheUpdate, CacheUpdateOne};
use crate::{Card, DType, Layout, Memory, MemoryConfig, TILE, TensorSpec};

/// What TT-NN says of rows that are not.
const SHARDED: &str = "Expect input_tensor to be sharded";

/// `paged_fused_update_cache` with `update_idxs_tensor` and `page_table`.
///
/// Stricter than TT-NN: caches are in DRAM, equal in shape and data type, and have the heads of k and v and blocks of whole tiles.
///
/// # Errors
/// Every broken constraint of `paged_fused_update_cache_device_operation.cpp`.
pub fn check_cache_update(_args: &CacheUpdate, given: &[&TensorSpec], card: &Card) -> Answer {
    let [k_cache, k, v_cache, v, positions, page_table] = operands(given)?;
    let mut checks = Checks::new();
    require_cache(k_cache, &mut checks);
    checks.narrow(
        k_cache == v_cache,
        format_args!("key cache {k_cache} and value cache {v_cache} differ"),
        format_args!("two equal caches"),
    );
    require_rows(k, &mut checks);
    require_rows(v, &mut checks);
    checks.settle()?;
    let users = k.shape[1];
    checks.require(
        k.dtype == v.dtype,
        format_args!("Fused update requires matching input tensor dtypes, got {} and {}", k.dtype, v.dtype),
        format_args!("v in {}", k.dtype),
    );
    checks.require(
        k.shape == v.shape,
        format_args!("k {:?} and v {:?} differ", k.shape, v.shape),
        format_args!("v like k"),
    );
    require_match(k_cache, k, positions, page_table, &mut checks);
    let (k_cores, v_cores) = (user_cores(k, SHARDED, &mut checks), user_cores(v, SHARDED, &mut checks));
    if let (Some(k_cores), Some(v_cores)) = (k_cores, v_cores) {
        checks.require(
            k_cores.is_disjoint(v_cores),
            format_args!("input_tensor1 ({k_cores}) and input_tensor2 ({v_cores}) must not overlap"),
            format_args!("k and v on different cores"),
        );
    }
    checks.finish(|| Outcome {
        circular_buffers: edited_rows(k_cache, users)
            + stick(positions.columns(), card)
            + stick(page_table.columns(), card),
        programs: 1,
        ..Outcome::default()
    })
}

/// `paged_update_cache` with `update_idxs_tensor` and `page_table`.
///
/// Stricter than TT-NN: the cache is in DRAM and has the heads of the input and blocks of whole tiles; each user has a core of its own.
///
/// # Errors
/// Every broken constraint of `paged_update_cache_device_operation.cpp`.
pub fn check_cache_update_one(_args: &CacheUpdateOne, given: &[&TensorSpec], _card: &Card) -> Answer {
    let [cache, input, positions, page_table] = operands(given)?;
    let mut checks = Checks::new();
    require_cache(cache, &mut checks);
    require_rows(input, &mut checks);
    checks.settle()?;
    require_match(cache, input, positions, page_table, &mut checks);
    user_cores(input, SHARDED, &mut checks);
    checks.finish(|| Outcome {
        // Positions take a tile of integers, whatever their number, and the user's row of the page table its bare length.
        circular_buffers: edited_rows(cache, input.shape[1])
            + DType::I32.tile_bytes()
            + 4 * u64::from(page_table.columns()),
        programs: 1,
        ..Outcome::default()
    })
}

/// Per column of tiles: the rows of all users and two tiles of the cache, as stored; four tiles of bf16 that are edited.
fn edited_rows(cache: &TensorSpec, users: u32) -> u64 {
    cache.tile_columns() * (u64::from(users + 2) * cache.dtype.tile_bytes() + 4 * DType::Bf16.tile_bytes())
}

/// Keys or values of one token per user: `[1, B, kv_heads, head_dim]`.
fn require_rows(input: &TensorSpec, checks: &mut Checks) {
    checks.require(
        matches!(input.dtype, DType::F32 | DType::Bf16),
        format_args!("Data type of input tensor for update cache must be FLOAT32 or BFLOAT16"),
        format_args!("bf16 instead of {}", input.dtype),
    );
    checks.require(
        input.layout == Layout::Tile,
        format_args!("Input tensor in update_cache must be tilized"),
        format_args!("TILE layout"),
    );
    require_users(input, "Dim 0 of input tensor must be 1", checks);
}

/// The rows of the users fit the cache, and positions and page table the users.
fn require_match(
    cache: &TensorSpec,
    rows: &TensorSpec,
    positions: &TensorSpec,
    page_table: &TensorSpec,
    checks: &mut Checks,
) {
    let users = rows.shape[1];
    checks.require(
        rows.columns() == cache.columns(),
        format_args!("Last dim of input tensor must match last dim of cache tensor"),
        format_args!("{} columns", cache.columns()),
    );
    checks.require(
        rows.shape[2] == cache.shape[1],
        format_args!("input has {} heads, the cache {}", rows.shape[2], cache.shape[1]),
        format_args!("as many heads as the cache"),
    );
    require_positions(positions, users, checks);
    require_page_table(page_table, Some(users), checks);
    checks.require(
        page_table.columns() <= cache.shape[0],
        format_args!(
            "max_num_blocks_per_seq must be less than max_num_blocks: max_num_blocks_per_seq={}, max_num_blocks={}",
            page_table.columns(),
            cache.shape[0]
        ),
        format_args!("a page table of at most {} columns", cache.shape[0]),
    );
}

/// `paged_fill_cache`; the user is an argument of the call, a row of the page table.
///
/// Stricter than TT-NN: the cache has blocks of whole tiles, cache and page table are in DRAM.
///
/// # Errors
/// Every broken constraint of `paged_fill_cache_device_operation.cpp`.
pub fn check_cache_fill(_args: &CacheFill, given: &[&TensorSpec], card: &Card) -> Answer {
    let [cache, input, page_table] = operands(given)?;
    let mut checks = Checks::new();
    require_cache(cache, &mut checks);
    require_page_table(page_table, None, &mut checks);
    checks.require(
        input.dtype == cache.dtype,
        format_args!("input is {}, the cache {}: typecast K/V to the cache dtype first", input.dtype, cache.dtype),
        format_args!("{} input", cache.dtype),
    );
    checks.require(
        input.layout == Layout::Tile && !input.memory.is_sharded(),
        format_args!("Expect input_tensor to have memory layout INTERLEAVED"),
        format_args!("tiled, interleaved"),
    );
    checks.settle()?;
    let (heads, block, head_dim) = (cache.shape[1], cache.shape[2], cache.shape[3]);
    checks.require(
        matches!(*input.shape.as_slice(), [1, h, 1..=u32::MAX, d] if h == heads && d == head_dim),
        format_args!("input {:?} is not [1, {heads}, S, {head_dim}], the cache's heads", input.shape),
        format_args!("as many heads and columns as the cache"),
    );
    let length = u64::from(input.rows()).next_multiple_of(u64::from(TILE));
    checks.require(
        length <= u64::from(block) * u64::from(page_table.columns()),
        format_args!(
            "Input seq_len ({length}) must fit in max_num_blocks_per_seq ({}) * block_size ({block})",
            page_table.columns()
        ),
        format_args!("a longer page table or a shorter prompt"),
    );
    checks.finish(|| Outcome {
        // A row of tiles of one head, twice, and the user's row of the page table.
        circular_buffers: 2 * cache.tile_columns() * cache.dtype.tile_bytes() + stick(page_table.columns(), card),
        programs: 1,
        ..Outcome::default()
    })
}

/// A cache: `[blocks, kv_heads, block, head_dim]`, tiled, interleaved in DRAM.
pub(super) fn require_cache(cache: &TensorSpec, checks: &mut Checks) {
    checks.require(
        matches!(cache.dtype, DType::Bf16 | DType::Bfp8 | DType::Bfp4),
        format_args!(
            "Data type of cache tensor must be FLOAT32, BFLOAT16, BFLOAT8_B, or BFLOAT4_B and is {}",
            cache.dtype
        ),
        format_args!("bf16, bfp8 or bfp4: attention takes no other"),
    );
    checks.narrow(
        cache.layout == Layout::Tile,
        format_args!("Cache tensor in update_cache must be tilized"),
        format_args!("TILE layout"),
    );
    checks.require(
        !cache.memory.is_sharded(),
        format_args!("Only interleaved cache is supported: {}", cache.memory),
        format_args!("DRAM interleaved"),
    );
    checks.narrow(
        cache.memory.memory() == Memory::Dram,
        format_args!("a cache in {}", cache.memory),
        format_args!("DRAM interleaved"),
    );
    checks.narrow(
        matches!(*cache.shape.as_slice(), [1..=u32::MAX, 1..=u32::MAX, block, d] if whole_tiles(block) && whole_tiles(d)),
        format_args!("cache shape {:?}", cache.shape),
        format_args!("[blocks, kv_heads, block, head_dim], the last two multiples of 32"),
    );
}

/// `[B]`, the row of each user.
pub(super) fn require_positions(positions: &TensorSpec, users: u32, checks: &mut Checks) {
    checks.require(
        positions.dtype == DType::I32,
        format_args!("Expected update_idxs to have datatype INT32"),
        format_args!("i32 instead of {}", positions.dtype),
    );
    checks.require(
        positions.layout == Layout::RowMajor,
        format_args!("Expected update_idxs to have memory layout in ROW MAJOR"),
        format_args!("row-major layout"),
    );
    checks.narrow(
        positions.memory == MemoryConfig::DRAM,
        format_args!("Expect update_idxs to be DRAM INTERLEAVED"),
        format_args!("DRAM interleaved"),
    );
    checks.require(
        *positions.shape == [users],
        format_args!("Number of update_idxs {:?} should match batch size ({users})", positions.shape),
        format_args!("[{users}]"),
    );
}

/// `[B, blocks per user]`; any number of users when `users` is `None`.
pub(super) fn require_page_table(table: &TensorSpec, users: Option<u32>, checks: &mut Checks) {
    checks.require(
        table.dtype == DType::I32,
        format_args!("Expect page table to have datatype INT32"),
        format_args!("i32 instead of {}", table.dtype),
    );
    checks.require(
        table.layout == Layout::RowMajor,
        format_args!("Expect page table to have memory layout in ROW MAJOR"),
        format_args!("row-major layout"),
    );
    checks.narrow(
        table.memory == MemoryConfig::DRAM,
        format_args!("a page table in {}", table.memory),
        format_args!("DRAM interleaved"),
    );
    checks.require(
        matches!(*table.shape.as_slice(), [rows @ 1..=u32::MAX, 1..=u32::MAX] if users.is_none_or(|users| rows == users)),
        format_args!("Batch size between page_table {:?} and input_tensor must match", table.shape),
        format_args!("[B, blocks per user]"),
    );
}

/// Bytes of `length` 32-bit integers as a row in DRAM: what a kernel buffers of positions or of a page table.
pub(super) fn stick(length: u32, card: &Card) -> u64 {
    (4 * u64::from(length)).next_multiple_of(card.dram.alignment)
}

#[cfg(test)]
mod tests;
