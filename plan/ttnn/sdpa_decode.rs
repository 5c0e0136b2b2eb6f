//! `paged_scaled_dot_product_attention_decode`: flash attention of one token per user over the paged KV cache.
//!
//! The grid's cores are dealt to the users, those of a user to its kv heads (see [`Split`]). The first `B` cores of the program's grid, row
//! by row, collect the users' results and hand q to the workers: a sharded q has to lie on just those.

use super::assign::same_order;
use super::constraint::{constraints, values};
use super::paged_cache::{require_cache, require_page_table, require_positions, stick};
use super::users::{MOST_HEADS, head_rows, whole_tiles};
use super::{Answer, Checks, Outcome, require_placement};
use crate::op::SdpaDecode;
use crate::ttnn::checks::operands;
use crate::{Card, Cores, DType, Layout, Memory, MemoryConfig, Strategy, TILE, TensorSpec};

/// Most cores TT-NN gives one kv head of one user (`max_cores_per_head_batch`, default).
const MOST_CORES_PER_HEAD: u32 = 16;

/// Largest head and chunk a rule looks at: far beyond what fits, and small enough for arithmetic in 64 bits.
const MOST_COLUMNS: u32 = 1 << 10;
const MOST_CHUNK: u32 = 1 << 20;

/// How TT-NN splits a grid among users and kv heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// Cores that share the context of one kv head of one user.
    pub cores_per_head: u32,
    /// kv heads one core works through, one after the other.
    pub heads_per_core: u32,
}

impl Split {
    /// The split of `cores` among `users` with `kv_heads` each; `None` when there are fewer cores than users.
    pub fn of(cores: u32, users: u32, kv_heads: u32) -> Option<Split> {
        let most = MOST_CORES_PER_HEAD.saturating_mul(users).saturating_mul(kv_heads);
        let per_user = cores.min(most).checked_div(users).filter(|&n| n > 0)?;
        Some(Split {
            cores_per_head: per_user.checked_div(kv_heads)?.max(1),
            heads_per_core: kv_heads.div_ceil(per_user),
        })
    }
}

/// Whether TT-NN works on half tiles for so many query heads of a user (`use_half_tile`): they fill no more than the upper two faces. Its
/// exponentials are then approximate, good to 3 %, whatever the compute config and the program config say
/// (`sub_exp_block_bcast_cols_inplace`: `vector_mode != VectorMode::RC`).
pub const fn approximate_exp(heads: u32) -> bool {
    heads <= TILE / 2
}

constraints! { "sdpa_decode", "sdpa_decode_device_operation.cpp",
    also [paged_cache, paged_cache::positions, placement];
    Q_TYPE: "q is bf16."
        => "GQA expects BFLOAT16 input tensor, but got {dtype}", "bf16 queries";
    Q_SHAPE: "q is tiled [1, B, H, head_dim] of up to 128 heads, head_dim a multiple of 32."
        because "decode takes one token of each user; more heads were not studied"
        => "Q {q}", "tiled [1, B, H, head_dim], up to 128 heads, head_dim a multiple of 32";
    CACHES_ALIKE: "The caches of keys and values have one shape."
        => "K and V must have same block size: {k} and {v}", "caches of one shape";
    SAME_COLUMNS: "The caches are as wide as q."
        => "Q, K, V must have same hidden size", "caches of {columns} columns";
    HEADS: "The heads of q are a multiple of the kv heads."
        => "GQA expects Q to have a multiple of K heads, but got {heads} and {kv_heads}",
           "heads a multiple of the kv heads";
    CHUNK: "k_chunk_size is a power of two from 32 on, or 0, which leaves the choice to the kernels." in "sdpa_decode.cpp"
        => "User provided k_chunk_size must be power of 2, got: {chunk}", "a power of 2 from 32 on, or 0";
    WHOLE_CHUNKS: "k_chunk_size divides the context that the page table spans."
        because "TT-NN would read past it without a word"
        => "K sequence length must be multiple of chunk size, got: {context} and {chunk}",
           "a smaller chunk or a longer page table";
    GRANULARITY: "Tiles of scores, the rows of all heads times a chunk, fill the destination or are a power of two."
        in "sdpa_decode_program_factory.cpp"
        => "MUL_BCAST_GRANULARITY ({tiles}) must be power of 2", "longer chunks, or heads in 1, 2 or 4 tiles of rows";
    GRID_ON_CARD: "The grid of the program config is on the card." in "sdpa_decode_program_factory.cpp"
        => "grid {x}x{y} is outside the worker grid {width}x{height}", "a grid within the card's";
    CORE_PER_USER: "The grid has a core for each user." in "sdpa_decode_program_factory.cpp"
        => "Cores available ({cores}) must be >= batch size ({users})", "at least {users} cores";
    EVEN_HEADS: "The kv heads are a multiple of those that one core works through."
        because "TT-NN leaves heads out otherwise: one core per user, as many as kv heads, or a divisor that comes out even"
        => "{cores} cores for {users} users make {per_core} of {kv_heads} kv heads per core", "{users} cores, or {most} or more";
    Q_IN_DRAM: "An interleaved q is in DRAM."
        => "Q tensor buffer type must be DRAM when not sharded but got L1", "queries height-sharded in L1, or in DRAM";
    Q_HEIGHT_SHARDED: "A sharded q is height-sharded in L1."
        => "Q tensor memory layout must be HEIGHT_SHARDED when sharded but got {memory}", "L1 HS[32,{columns}]";
    Q_SHARD: "A shard of q holds one user."
        because "TT-NN takes other shards, and reads the wrong users"
        => "q lies in shards of {rows}x{width}, not one user to a shard", "L1 HS[{wanted},{columns}]";
    Q_CORES: "A sharded q lies on the first cores of the program's grid, row by row."
        because "kernels read user i from the i-th core of the grid"
        => "q lies on {cores}, but user i is read from core i of the {x}x{y} grid",
           "a grid as wide as the one q was laid out on";
    RESULT_INTERLEAVED: "The result is interleaved."
        => "Sharded output not supported for GQA", "L1 or DRAM interleaved";
}

/// q `[1,B,H,D]` -> `[1,B,H,D]`, interleaved.
pub(super) fn check(args: &SdpaDecode, given: &[&TensorSpec], card: &Card) -> Answer {
    let [q, k_cache, v_cache, positions, page_table] = operands(given)?;
    let mut checks = Checks::new();
    require_cache(k_cache, &mut checks);
    require_cache(v_cache, &mut checks);
    checks.require(&Q_TYPE, q.dtype == DType::Bf16, values![dtype = q.dtype]);
    checks.require(
        &Q_SHAPE,
        q.layout == Layout::Tile
            && matches!(*q.shape.as_slice(), [1, 1..=u32::MAX, 1..=MOST_HEADS, d @ 1..=MOST_COLUMNS] if whole_tiles(d)),
        values![q],
    );
    checks.settle()?;
    let (users, heads, columns) = (q.shape[1], q.shape[2], q.columns());
    let (kv_heads, block) = (k_cache.shape[1], k_cache.shape[2]);
    checks.require(&CACHES_ALIKE, k_cache.shape == v_cache.shape, values![k = k_cache.shape, v = v_cache.shape]);
    checks.require(&SAME_COLUMNS, k_cache.columns() == columns, values![columns]);
    checks.require(&HEADS, heads.is_multiple_of(kv_heads), values![heads, kv_heads]);
    require_positions(positions, users, &mut checks);
    require_page_table(page_table, Some(users), &mut checks);
    checks.settle()?;
    require_chunk(args.program.k_chunk, u64::from(block) * u64::from(page_table.columns()), &mut checks);
    let tiles = u64::from(head_rows(heads) / TILE) * chunk_tiles(args);
    let tiles = tiles.min(destination_tiles(args));
    checks.require(&GRANULARITY, args.program.k_chunk == 0 || tiles.is_power_of_two(), values![tiles]);
    let Some(split) = require_grid(args.program.grid, users, kv_heads, card, &mut checks) else {
        return checks.finish(Outcome::default);
    };
    require_q(q, args.program.grid, users, &mut checks);
    checks.require(&RESULT_INTERLEAVED, !args.memory.is_sharded(), values![]);
    let output = TensorSpec::tile(q.shape.clone(), DType::Bf16, args.memory.clone());
    require_placement(&output, card, &mut checks);
    checks.finish(|| Outcome {
        outputs: vec![output],
        circular_buffers: bytes(args, q, k_cache, v_cache, split)
            + 2 * stick(positions.columns(), card)
            + stick(page_table.columns(), card),
        programs: 1,
        ..Outcome::default()
    })
}

fn require_chunk(chunk: u32, context: u64, checks: &mut Checks) {
    let power = chunk == 0 || (chunk.is_power_of_two() && (TILE..=MOST_CHUNK).contains(&chunk));
    checks.require(&CHUNK, power, values![chunk]);
    checks.require(&WHOLE_CHUNKS, chunk == 0 || context.is_multiple_of(u64::from(chunk)), values![context, chunk]);
}

fn require_grid(grid: (u32, u32), users: u32, kv_heads: u32, card: &Card, checks: &mut Checks) -> Option<Split> {
    let ((x, y), (width, height)) = (grid, card.grid);
    let on_card = x > 0 && y > 0 && x <= width && y <= height;
    if !checks.require(&GRID_ON_CARD, on_card, values![x, y, width, height]) {
        return None;
    }
    let cores = x * y;
    let split = Split::of(cores, users, kv_heads);
    checks.require(&CORE_PER_USER, split.is_some(), values![cores, users]);
    let split = split?;
    checks.require(
        &EVEN_HEADS,
        kv_heads.is_multiple_of(split.heads_per_core),
        values![cores, users, per_core = split.heads_per_core, kv_heads, most = users.saturating_mul(kv_heads)],
    );
    Some(split)
}

fn require_q(q: &TensorSpec, grid: (u32, u32), users: u32, checks: &mut Checks) {
    let columns = q.columns();
    match &q.memory {
        MemoryConfig::Interleaved(memory) => {
            checks.require(&Q_IN_DRAM, *memory == Memory::Dram, values![]);
        }
        MemoryConfig::Sharded { memory, strategy, cores, shard: [rows, width] } => {
            checks.require(
                &Q_HEIGHT_SHARDED,
                *strategy == Strategy::Height && *memory == Memory::L1,
                values![memory = q.memory, columns],
            );
            let wanted = head_rows(q.rows());
            checks.require(&Q_SHARD, [*rows, *width] == [wanted, columns], values![rows, width, wanted, columns]);
            checks.require(
                &Q_CORES,
                same_order(cores.iter(), Cores::row_major(users, grid).iter()),
                values![cores, x = grid.0, y = grid.1],
            );
        }
    }
}

/// Tiles that the destination registers hold.
const fn destination_tiles(args: &SdpaDecode) -> u64 {
    if args.compute.fp32_dest_acc { 4 } else { 8 }
}

/// Tiles of keys that a chunk is long; at most a destination full where the kernels choose.
fn chunk_tiles(args: &SdpaDecode) -> u64 {
    if args.program.k_chunk == 0 { destination_tiles(args) } else { u64::from(args.program.k_chunk / TILE) }
}

/// Circular buffers but the positions' and the page table's.
fn bytes(args: &SdpaDecode, q: &TensorSpec, k: &TensorSpec, v: &TensorSpec, split: Split) -> u64 {
    let full = DType::Bf16.tile_bytes();
    let tile = if approximate_exp(q.rows()) { full / 2 } else { full };
    let (columns, row_tiles) = (q.tile_columns(), u64::from(head_rows(q.rows()) / TILE));
    let chunk = chunk_tiles(args);
    let caches = 2 * chunk * columns * (k.dtype.tile_bytes() + v.dtype.tile_bytes());
    // q twice (as read, tilized), three accumulators, the partial result.
    let rows = 6 * row_tiles * columns * tile;
    // Mask and scores.
    let scores = 2 * row_tiles * chunk * tile;
    // Maxima, sums and exponentials (11 of them), identity, zero; a full identity column.
    let columns_of_one = (11 * row_tiles + 2) * tile + full;
    let output = row_tiles * columns * full;
    let from_workers = row_tiles * (columns + 2) * u64::from(split.cores_per_head - 1) * tile;
    caches + rows + scores + columns_of_one + output + from_workers
}

#[cfg(test)]
mod tests;
