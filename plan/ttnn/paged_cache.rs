//! Shared by the calls on the paged KV cache `[blocks, kv_heads, block, head_dim]`: the cache, its page table and positions, and the rows
//! that decode writes.

use super::Checks;
use super::constraint::{constraints, values};
use super::users::{require_users, whole_tiles};
use crate::{Card, DType, Layout, Memory, MemoryConfig, TILE, TensorSpec};

constraints! { "paged_cache", "paged_cache_operation.cpp";
    TYPE: "A cache is bf16, bfp8 or bfp4."
        => "Data type of cache tensor must be FLOAT32, BFLOAT16, BFLOAT8_B, or BFLOAT4_B and is {dtype}",
           "bf16, bfp8 or bfp4: attention takes no other";
    TILED: "A cache is tiled."
        because "attention reads tiles; a row-major cache was not studied"
        => "Cache tensor in update_cache must be tilized", "TILE layout";
    INTERLEAVED: "A cache is interleaved."
        => "Only interleaved cache is supported: {memory}", "DRAM interleaved";
    IN_DRAM: "A cache is in DRAM."
        because "caches of all layers are far larger than L1"
        => "a cache in {memory}", "DRAM interleaved";
    SHAPE: "A cache is [blocks, kv_heads, block, head_dim], the last two multiples of 32."
        because "rows of a block that fills no tile would be written beside it"
        => "cache shape {shape}", "[blocks, kv_heads, block, head_dim], the last two multiples of 32";
    PAGE_TABLE_TYPE: "A page table is i32."
        => "Expect page table to have datatype INT32", "i32 instead of {dtype}";
    PAGE_TABLE_ROW_MAJOR: "A page table is row-major."
        => "Expect page table to have memory layout in ROW MAJOR", "row-major layout";
    PAGE_TABLE_IN_DRAM: "A page table is interleaved in DRAM."
        because "plans keep it there; kernels for sharded page tables were not studied"
        => "a page table in {memory}", "DRAM interleaved";
    PAGE_TABLE_ROWS: "A page table has a row for each user."
        => "Batch size between page_table {shape} and input_tensor must match", "[B, blocks per user]";
}

/// The row of each user in its context.
pub(super) mod positions {
    use super::*;

    constraints! { "paged_cache", "paged_cache_operation.cpp";
        POSITIONS_TYPE: "Positions are i32."
            => "Expected update_idxs to have datatype INT32", "i32 instead of {dtype}";
        POSITIONS_ROW_MAJOR: "Positions are row-major."
            => "Expected update_idxs to have memory layout in ROW MAJOR", "row-major layout";
        POSITIONS_IN_DRAM: "Positions are interleaved in DRAM."
            because "plans keep them there; kernels for sharded positions were not studied"
            => "Expect update_idxs to be DRAM INTERLEAVED", "DRAM interleaved";
        POSITIONS_COUNT: "There is a position for each user."
            => "Number of update_idxs {shape} should match batch size ({users})", "[{users}]";
    }
}

/// Rows that decode writes into a cache.
pub(super) mod rows {
    use super::*;

    constraints! { "paged_cache", "paged_update_cache_device_operation.cpp";
        ROWS_TYPE: "Rows written are bf16 or f32."
            => "Data type of input tensor for update cache must be FLOAT32 or BFLOAT16", "bf16 instead of {dtype}";
        ROWS_TILED: "Rows written are tiled."
            => "Input tensor in update_cache must be tilized", "TILE layout";
        ROWS_OF_ONE_TOKEN: "Rows written are [1, B, kv_heads, head_dim]."
            => "Dim 0 of input tensor must be 1: {shape}", "[1, B, heads, head_dim]";
        ROWS_SHARDED: "Rows written are height-sharded in L1, one user per core."
            => "Expect input_tensor to be sharded, one user per core; it is {memory}",
               "L1 HS[32,{columns}] on {users} cores";
        ROWS_WIDTH: "Rows written are as wide as the cache."
            => "Last dim of input tensor must match last dim of cache tensor", "{columns} columns";
        ROWS_MOST_HEADS: "Rows written are of at most 32 heads."
            because "TT-NN takes more, and on the simulator its kernels then left wrong rows in the cache"
            => "{heads} heads", "at most 32 heads";
        ROWS_HEADS: "Rows written have as many heads as the cache."
            because "TT-NN does not compare them, and would write beside the block"
            => "input has {given} heads, the cache {heads}", "as many heads as the cache";
        PAGES: "A user has at most as many blocks as the cache."
            => "max_num_blocks_per_seq must be less than max_num_blocks: max_num_blocks_per_seq={pages}, max_num_blocks={blocks}",
               "a page table of at most {blocks} columns";
    }
}

/// A cache: `[blocks, kv_heads, block, head_dim]`, tiled, interleaved in DRAM.
pub(super) fn require_cache(cache: &TensorSpec, checks: &mut Checks) {
    checks.require(&TYPE, matches!(cache.dtype, DType::Bf16 | DType::Bfp8 | DType::Bfp4), values![dtype = cache.dtype]);
    checks.require(&TILED, cache.layout == Layout::Tile, values![]);
    checks.require(&INTERLEAVED, !cache.memory.is_sharded(), values![memory = cache.memory]);
    checks.require(&IN_DRAM, cache.memory.memory() == Memory::Dram, values![memory = cache.memory]);
    checks.require(
        &SHAPE,
        matches!(*cache.shape.as_slice(), [1..=u32::MAX, 1..=u32::MAX, block, d] if whole_tiles(block) && whole_tiles(d)),
        values![shape = cache.shape],
    );
}

/// `[B]`, the row of each user.
pub(super) fn require_positions(tensor: &TensorSpec, users: u32, checks: &mut Checks) {
    checks.require(&positions::POSITIONS_TYPE, tensor.dtype == DType::I32, values![dtype = tensor.dtype]);
    checks.require(&positions::POSITIONS_ROW_MAJOR, tensor.layout == Layout::RowMajor, values![]);
    checks.require(&positions::POSITIONS_IN_DRAM, tensor.memory == MemoryConfig::DRAM, values![]);
    checks.require(&positions::POSITIONS_COUNT, *tensor.shape == [users], values![shape = tensor.shape, users]);
}

/// `[B, blocks per user]`; any number of users when `users` is `None`.
pub(super) fn require_page_table(table: &TensorSpec, users: Option<u32>, checks: &mut Checks) {
    checks.require(&PAGE_TABLE_ROW_MAJOR, table.layout == Layout::RowMajor, values![]);
    require_pages(table, users, checks);
}

/// As [`require_page_table`], for a call that takes any layout.
pub(super) fn require_pages(table: &TensorSpec, users: Option<u32>, checks: &mut Checks) {
    checks.require(&PAGE_TABLE_TYPE, table.dtype == DType::I32, values![dtype = table.dtype]);
    checks.require(&PAGE_TABLE_IN_DRAM, table.memory == MemoryConfig::DRAM, values![memory = table.memory]);
    checks.require(
        &PAGE_TABLE_ROWS,
        matches!(*table.shape.as_slice(), [rows @ 1..=u32::MAX, 1..=u32::MAX] if users.is_none_or(|users| rows == users)),
        values![shape = table.shape],
    );
}

/// Keys or values of one token per user: `[1, B, kv_heads, head_dim]`.
pub(super) fn require_rows(input: &TensorSpec, checks: &mut Checks) {
    checks.require(&rows::ROWS_TYPE, matches!(input.dtype, DType::F32 | DType::Bf16), values![dtype = input.dtype]);
    checks.require(&rows::ROWS_TILED, input.layout == Layout::Tile, values![]);
    require_users(input, &rows::ROWS_OF_ONE_TOKEN, checks);
    let heads = input.shape.get(2).copied().unwrap_or(0);
    checks.require(&rows::ROWS_MOST_HEADS, heads <= TILE, values![heads]);
}

/// The rows of the users fit the cache, and positions and page table the users.
pub(super) fn require_match(
    cache: &TensorSpec,
    input: &TensorSpec,
    positions: &TensorSpec,
    page_table: &TensorSpec,
    checks: &mut Checks,
) {
    let users = input.shape[1];
    let (columns, heads, given) = (cache.columns(), cache.shape[1], input.shape[2]);
    checks.require(&rows::ROWS_WIDTH, input.columns() == columns, values![columns]);
    checks.require(&rows::ROWS_HEADS, given == heads, values![given, heads]);
    require_positions(positions, users, checks);
    require_page_table(page_table, Some(users), checks);
    let (pages, blocks) = (page_table.columns(), cache.shape[0]);
    checks.require(&rows::PAGES, pages <= blocks, values![pages, blocks]);
}

/// Per column of tiles: the rows of all users and two tiles of the cache, as stored; four tiles of bf16 that are edited.
pub(super) fn edited_rows(cache: &TensorSpec, users: u32) -> u64 {
    cache.tile_columns() * (u64::from(users + 2) * cache.dtype.tile_bytes() + 4 * DType::Bf16.tile_bytes())
}

/// Bytes of `length` 32-bit integers as a row in DRAM: a kernel's buffer of positions or of a page table.
pub(super) fn stick(length: u32, card: &Card) -> u64 {
    (4 * u64::from(length)).next_multiple_of(card.dram.alignment)
}
