//! `chunked_scaled_dot_product_attention` with `chunk_start_idx_tensor`: flash attention of a chunk of a prompt over the paged KV cache.
//!
//! Queries are cut into chunks of their own, and those of all heads are dealt to the grid. Keys are read by way of the page table, chunk by
//! chunk from the context's first position to the last that a chunk of queries sees.

use super::constraint::{constraints, values};
use super::paged_cache::{require_cache, require_page_table};
use super::users::whole_tiles;
use super::{Answer, Checks, Outcome, require_placement};
use crate::op::Sdpa;
use crate::program::SdpaProgram;
use crate::ttnn::checks::operands;
use crate::{Card, DType, Layout, MemoryConfig, TILE, TensorSpec};

/// Longest chunk, largest head and program chunk a rule looks at: far beyond what fits, and small enough for arithmetic in 64 bits.
const MOST_ROWS: u32 = 1 << 20;
const MOST_COLUMNS: u32 = 1 << 10;
const MOST_CHUNK: u32 = 1 << 13;

/// Bytes that the factory wants a row of the page table to be a multiple of.
const STICK: u32 = 32;

constraints! { "sdpa", "sdpa_device_operation.cpp", also [paged_cache, placement];
    TYPE: "q is bf16, bfp8 or bfp4."
        => "Data type of input tensor must be BFLOAT16, BFLOAT8_B, or BFLOAT4_B and is {dtype}", "bf16, bfp8 or bfp4";
    TILED: "q is tiled."
        => "Inputs to SDPA must be tilized", "TILE layout";
    Q_INTERLEAVED: "q is interleaved."
        => "Operands to SDPA need to be DRAM/L1 interleaved", "interleaved instead of {memory}";
    SHAPE: "q is [1, heads, S, head_dim], head_dim a multiple of 32."
        => "Padding is not supported on the head_dim dimension: {shape}", "[1, heads, S, head_dim], head_dim a multiple of 32";
    CACHES_ALIKE: "The caches of keys and values have one shape."
        => "K page size must match V page size. Got K: {k}, V: {v}", "caches of one shape";
    SAME_COLUMNS: "The caches are as wide as q."
        => "K and V hidden dim must match. Got K: {k}, q: {columns}", "caches of {columns} columns";
    HEADS: "The heads of q are a multiple of the kv heads."
        => "Q num_heads must be >= K num_heads and divisible by K num_heads, and K num_heads must be greater than 0. Got Q: {q}, K: {k}",
           "heads a multiple of the kv heads";
    WHOLE_STICKS: "The page table has blocks in multiples of 8." in "sdpa_program_factory.cpp"
        => "page table stick size must be a multiple of 32, not {bytes}", "blocks in multiples of 8";
    PAGES: "The blocks of the page table hold the chunk."
        => "K's sequence length must be >= Q's sequence length. Got K: {context}, Q: {rows}", "a longer page table or a shorter chunk";
    START_TYPE: "The start of the chunk is i32."
        => "chunk_start_idx tensor must be int32. Got {dtype}", "i32";
    START_SHAPE: "The start of the chunk is one number."
        => "chunk_start_idx tensor must have shape [1]. Got {shape}", "[1]";
    START_PLACE: "The start of the chunk is row-major and interleaved in DRAM."
        because "plans keep it there; the kernel reads its first word, whatever the layout"
        => "a start {start}", "row-major, DRAM interleaved";
    CHUNKS: "Chunks of q and k are positive multiples of 32 rows."
        => "{name} must be a positive multiple of TILE_SIZE. Got {name}: {chunk}, TILE_SIZE: 32", "a multiple of 32";
    GRID_ON_CARD: "The grid of the program config is on the card." in "sdpa_program_factory.cpp"
        => "Provided grid {x}x{y} must not contain more cores than the device", "a grid within {width}x{height}";
    RESULT_INTERLEAVED: "The result is interleaved."
        => "sharded output {memory}", "L1 or DRAM interleaved";
}

/// q interleaved and the caches -> the shape of q, interleaved.
pub(super) fn check(args: &Sdpa, given: &[&TensorSpec], card: &Card) -> Answer {
    let [q, k, v, pages, start] = operands(given)?;
    let mut checks = Checks::new();
    require_queries(q, &mut checks);
    require_cache(k, &mut checks);
    require_cache(v, &mut checks);
    checks.settle()?;
    let (heads, rows, head_dim) = (q.shape[1], q.shape[2], q.shape[3]);
    let (kv_heads, block) = (k.shape[1], k.shape[2]);
    checks.require(&CACHES_ALIKE, k.shape == v.shape, values![k = k.shape, v = v.shape]);
    checks.require(&SAME_COLUMNS, k.columns() == head_dim, values![k = k.columns(), columns = head_dim]);
    checks.require(&HEADS, heads >= kv_heads && heads.is_multiple_of(kv_heads), values![q = heads, k = kv_heads]);
    require_pages(pages, block, rows, &mut checks);
    require_start(start, &mut checks);
    require_program(args.program, card, &mut checks);
    checks.require(&RESULT_INTERLEAVED, !args.memory.is_sharded(), values![memory = args.memory]);
    let output = TensorSpec::tile(q.shape.clone(), q.dtype, args.memory.clone());
    require_placement(&output, card, &mut checks);
    checks.finish(|| Outcome {
        outputs: vec![output],
        circular_buffers: bytes(args, q, k, v, pages),
        programs: 1,
        ..Outcome::default()
    })
}

fn require_queries(q: &TensorSpec, checks: &mut Checks) {
    checks.require(&TYPE, matches!(q.dtype, DType::Bf16 | DType::Bfp8 | DType::Bfp4), values![dtype = q.dtype]);
    checks.require(&TILED, q.layout == Layout::Tile, values![]);
    checks.require(&Q_INTERLEAVED, !q.memory.is_sharded(), values![memory = q.memory]);
    checks.require(
        &SHAPE,
        matches!(*q.shape.as_slice(), [1, 1..=u32::MAX, 1..=MOST_ROWS, d @ 1..=MOST_COLUMNS] if whole_tiles(d)),
        values![shape = q.shape],
    );
}

/// The blocks of one user's context, enough for the chunk alone; that they are enough for it at any offset is for the plan's buffers to keep.
fn require_pages(pages: &TensorSpec, block: u32, rows: u32, checks: &mut Checks) {
    require_page_table(pages, Some(1), checks);
    let (count, bytes) = (u64::from(pages.columns()), u64::from(pages.columns()) * 4);
    checks.require(&WHOLE_STICKS, bytes.is_multiple_of(u64::from(STICK)), values![bytes]);
    let context = count * u64::from(block);
    checks.require(&PAGES, context >= u64::from(rows), values![context, rows]);
}

fn require_start(start: &TensorSpec, checks: &mut Checks) {
    checks.require(&START_TYPE, start.dtype == DType::I32, values![dtype = start.dtype]);
    checks.require(&START_SHAPE, *start.shape == [1], values![shape = start.shape]);
    let place = start.layout == Layout::RowMajor && start.memory == MemoryConfig::DRAM;
    checks.require(&START_PLACE, place, values![start]);
}

fn require_program(program: SdpaProgram, card: &Card, checks: &mut Checks) {
    for (name, chunk) in [("q_chunk_size", program.q_chunk), ("k_chunk_size", program.k_chunk)] {
        checks.require(&CHUNKS, (1..=MOST_CHUNK).contains(&chunk) && chunk.is_multiple_of(TILE), values![name, chunk]);
    }
    let ((x, y), (width, height)) = (program.grid, card.grid);
    checks.require(&GRID_ON_CARD, x > 0 && y > 0 && x <= width && y <= height, values![x, y, width, height]);
}

/// Sizes of one call in tiles.
#[derive(Debug, Clone, Copy)]
struct Cut {
    /// Tiles of rows of a chunk of queries, of keys.
    q: u64,
    k: u64,
    /// Tiles of columns.
    columns: u64,
}

/// All circular buffers.
fn bytes(args: &Sdpa, q: &TensorSpec, k: &TensorSpec, v: &TensorSpec, pages: &TensorSpec) -> u64 {
    let program = args.program;
    let cut =
        Cut { q: u64::from(program.q_chunk / TILE), k: u64::from(program.k_chunk / TILE), columns: q.tile_columns() };
    let (bf16, f32) = (DType::Bf16.tile_bytes(), DType::F32.tile_bytes());
    let precise = args.compute.fp32_dest_acc;
    let cores = u64::from(program.grid.0 * program.grid.1);
    let q_chunks = u64::from(q.rows().div_ceil(program.q_chunk));
    let several = q_chunks.is_multiple_of(2) || u64::from(q.shape[1]).saturating_mul(q_chunks) > cores;
    let queries = if several { 2 } else { 1 } * cut.q * cut.columns * q.dtype.tile_bytes();
    let keys = 2 * cut.k * cut.columns * (k.dtype.tile_bytes() + v.dtype.tile_bytes());
    // Two mask tiles, the identity, a column of ones; without fp32 accumulation also a scratch tile for reciprocals.
    let constants = if precise { 4 } else { 5 } * bf16;
    let scores = cut.q * cut.k * if precise { f32 } else { bf16 };
    let accumulators = 2 * cut.q * cut.columns * bf16;
    // Maxima (two), exponential, and sums (two, in fp32 when precise).
    let statistics = cut.q * (3 * bf16 + 2 * if precise { f32 } else { bf16 });
    let output = output_tiles(&cut, precise) * q.dtype.tile_bytes();
    // The page table, and the start for two of the kernels.
    let integers = 4 * u64::from(pages.columns()) + 2 * u64::from(STICK);
    queries + keys + constants + scores + accumulators + statistics + output + integers
}

/// Tiles of the result that are buffered: a whole chunk with fp32 accumulation, else two groups of rows, as many rows at a time as the
/// eight tiles of the destination register hold (two at most).
fn output_tiles(cut: &Cut, precise: bool) -> u64 {
    if precise {
        return cut.q * cut.columns;
    }
    let area = |h: u64| (1..=8 / h).rev().find(|w| cut.columns.is_multiple_of(*w)).map_or(0, |w| h * w);
    let two = cut.q.is_multiple_of(2) && area(2) >= area(1);
    let widened = cut.q > 1 && 2 * area(1) <= 8;
    2 * if two || widened { 2 } else { 1 } * cut.columns
}

#[cfg(test)]
mod tests;
