//! `paged_scaled_dot_product_attention_decode`: flash attention of one token per user over the paged KV cache.
//!
//! The grid's cores are dealt to the users, those of a user to its kv heads (see [`Split`]). The first `B` cores of the program's grid, row
//! by row, collect the users' results and hand q to the workers: a sharded q has to lie on just those.

use super::assign::same_order;
use super::cache::{require_cache, require_page_table, require_positions, stick};
use super::users::whole_tiles;
use super::{Answer, Checks, Outcome, operands, require_placement};
use crate::op::SdpaDecode;
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

/// Decode attention.
///
/// Stricter than TT-NN, where TT-NN would compute something else without a word:
/// - a sharded q lies on the first `B` cores of the program's grid, row by row (kernels read user `i` from the `i`-th of them);
/// - the kv heads are a multiple of those per core (otherwise heads are left out): one core per user, or as many as kv heads, or a
///   divisor that comes out even;
/// - `k_chunk` divides the context the page table spans, so that no chunk reads past it; 0 leaves the choice to the kernels;
/// - blocks are whole tiles, the page table and positions in DRAM, the result is not sharded (TT-NN allows it with a single kv head).
///
/// # Errors
/// Every broken constraint of `sdpa_decode.cpp`, its `device_operation.cpp` and `program_factory.cpp`.
pub fn check_sdpa_decode(args: &SdpaDecode, given: &[&TensorSpec], card: &Card) -> Answer {
    let [q, k_cache, v_cache, positions, page_table] = operands(given)?;
    let mut checks = Checks::new();
    require_cache(k_cache, &mut checks);
    require_cache(v_cache, &mut checks);
    checks.require(
        q.dtype == DType::Bf16,
        format_args!("GQA expects BFLOAT16 input tensor, but got {}", q.dtype),
        format_args!("bf16 queries"),
    );
    checks.narrow(
        q.layout == Layout::Tile
            && matches!(*q.shape.as_slice(), [1, 1..=u32::MAX, 1..=TILE, d @ 1..=MOST_COLUMNS] if whole_tiles(d)),
        format_args!("Q {q}"),
        format_args!("tiled [1, B, H, head_dim], up to 32 heads, head_dim a multiple of 32"),
    );
    checks.settle()?;
    let (users, heads) = (q.shape[1], q.shape[2]);
    let (kv_heads, block) = (k_cache.shape[1], k_cache.shape[2]);
    checks.require(
        k_cache.shape == v_cache.shape,
        format_args!("K and V must have same block size: {:?} and {:?}", k_cache.shape, v_cache.shape),
        format_args!("caches of one shape"),
    );
    checks.require(
        k_cache.columns() == q.columns(),
        format_args!("Q, K, V must have same hidden size"),
        format_args!("caches of {} columns", q.columns()),
    );
    checks.require(
        heads.is_multiple_of(kv_heads),
        format_args!("GQA expects Q to have a multiple of K heads, but got {heads} and {kv_heads}"),
        format_args!("heads a multiple of the kv heads"),
    );
    require_positions(positions, users, &mut checks);
    require_page_table(page_table, Some(users), &mut checks);
    checks.settle()?;
    require_chunk(args.program.k_chunk, u64::from(block) * u64::from(page_table.columns()), &mut checks);
    let Some(split) = require_grid(args.program.grid, users, kv_heads, card, &mut checks) else {
        return checks.finish(Outcome::default);
    };
    require_q(q, args.program.grid, users, &mut checks);
    checks.require(
        !args.memory.is_sharded(),
        format_args!("Sharded output not supported for GQA"),
        format_args!("L1 or DRAM interleaved"),
    );
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
    checks.require(
        chunk == 0 || (chunk.is_power_of_two() && (TILE..=MOST_CHUNK).contains(&chunk)),
        format_args!("User provided k_chunk_size must be power of 2, got: {chunk}"),
        format_args!("a power of 2 from 32 on, or 0"),
    );
    checks.narrow(
        chunk == 0 || context.is_multiple_of(u64::from(chunk)),
        format_args!("K sequence length must be multiple of chunk size, got: {context} and {chunk}"),
        format_args!("a smaller chunk or a longer page table"),
    );
}

fn require_grid(grid: (u32, u32), users: u32, kv_heads: u32, card: &Card, checks: &mut Checks) -> Option<Split> {
    let (x, y) = grid;
    if !checks.require(
        x > 0 && y > 0 && x <= card.grid.0 && y <= card.grid.1,
        format_args!("grid {x}x{y} is outside the worker grid {}x{}", card.grid.0, card.grid.1),
        format_args!("a grid within the card's"),
    ) {
        return None;
    }
    let cores = x * y;
    let split = Split::of(cores, users, kv_heads);
    checks.require(
        split.is_some(),
        format_args!("Cores available ({cores}) must be >= batch size ({users})"),
        format_args!("at least {users} cores"),
    );
    let split = split?;
    checks.narrow(
        kv_heads.is_multiple_of(split.heads_per_core),
        format_args!("{cores} cores for {users} users make {} of {kv_heads} kv heads per core", split.heads_per_core),
        format_args!("{users} cores, or {} or more", users.saturating_mul(kv_heads)),
    );
    Some(split)
}

fn require_q(q: &TensorSpec, grid: (u32, u32), users: u32, checks: &mut Checks) {
    match &q.memory {
        MemoryConfig::Interleaved(memory) => {
            checks.require(
                *memory == Memory::Dram,
                format_args!("Q tensor buffer type must be DRAM when not sharded but got L1"),
                format_args!("queries height-sharded in L1, or in DRAM"),
            );
        }
        MemoryConfig::Sharded { memory, strategy, cores, shard } => {
            checks.require(
                *strategy == Strategy::Height && *memory == Memory::L1 && *shard == [TILE, q.columns()],
                format_args!("Q tensor memory layout must be HEIGHT_SHARDED when sharded but got {}", q.memory),
                format_args!("L1 HS[32,{}]", q.columns()),
            );
            checks.require(
                same_order(cores.iter(), Cores::row_major(users, grid).iter()),
                format_args!("q lies on {cores}, but user i is read from core i of the {}x{} grid", grid.0, grid.1),
                format_args!("a grid as wide as the one q was laid out on"),
            );
        }
    }
}

/// Circular buffers but the positions' and the page table's.
fn bytes(args: &SdpaDecode, q: &TensorSpec, k: &TensorSpec, v: &TensorSpec, split: Split) -> u64 {
    let full = DType::Bf16.tile_bytes();
    // Up to 16 heads fill only the upper two faces of a tile.
    let tile = if q.rows() <= TILE / 2 { full / 2 } else { full };
    let columns = q.tile_columns();
    let destination = if args.compute.fp32_dest_acc { 4 } else { 8 };
    let chunk = if args.program.k_chunk == 0 { destination } else { u64::from(args.program.k_chunk / TILE) };
    let caches = 2 * chunk * columns * (k.dtype.tile_bytes() + v.dtype.tile_bytes());
    // q twice (as read, tilized), three accumulators, the partial result.
    let rows = 6 * columns * tile;
    // Mask and scores.
    let scores = 2 * chunk * tile;
    // Maxima, sums and exponentials (11 of them), identity, zero; a full identity column.
    let columns_of_one = 13 * tile + full;
    let output = columns * full;
    let from_workers = (columns + 2) * u64::from(split.cores_per_head - 1) * tile;
    caches + rows + scores + columns_of_one + output + from_workers
}

#[cfg(test)]
mod tests;
