//! `scaled_dot_product_attention` with `is_causal=True`: flash attention of a whole prompt.
//!
//! Queries are cut into chunks, and chunk `i` is worked on together with chunk `n - 1 - i`, so that causal masking leaves all cores the same
//! work. On Blackhole, when every pair reads equally many chunks of keys, the cores of a head forward keys and values to each other
//! ([`Forwarding`]), which takes a buffer of flags and, for larger chunks, a third slot of keys and values.

use super::constraint::{constraints, values};
use super::users::whole_tiles;
use super::{Answer, Checks, Outcome, require_placement};
use crate::op::Sdpa;
use crate::program::SdpaProgram;
use crate::ttnn::checks::operands;
use crate::{Arch, Card, DType, Layout, TILE, TensorSpec};

/// Longest prompt, largest head and chunk a rule looks at: far beyond what fits, and small enough for arithmetic in 64 bits.
const MOST_ROWS: u32 = 1 << 20;
const MOST_COLUMNS: u32 = 1 << 10;
const MOST_CHUNK: u32 = 1 << 13;

constraints! { "sdpa", "sdpa_device_operation.cpp", also [placement];
    TYPE: "q, k and v are bf16, bfp8 or bfp4."
        => "Data type of input tensor must be BFLOAT16, BFLOAT8_B, or BFLOAT4_B and is {dtype}", "bf16, bfp8 or bfp4";
    TILED: "q, k and v are tiled."
        => "Inputs to SDPA must be tilized", "TILE layout";
    INTERLEAVED: "q, k and v are interleaved."
        => "Operands to SDPA need to be DRAM/L1 interleaved", "interleaved instead of {memory}";
    SHAPE: "q, k and v are [1, heads, S, head_dim], head_dim a multiple of 32."
        => "Padding is not supported on the head_dim dimension: {shape}", "[1, heads, S, head_dim], head_dim a multiple of 32";
    SAME_ROWS: "q and k have as many rows, as causal masking asks."
        => "Causal SDPA requires Q and K to have the same sequence length. Got Q: {q}, K: {k}", "keys of {q} rows";
    SAME_COLUMNS: "k and v have one shape, with q's head_dim."
        => "K and V hidden dim must match. Got K: {k}, V: {v}", "keys and values [1, kv_heads, {rows}, {head_dim}]";
    HEADS: "The heads of q are a multiple of those of k."
        => "Q num_heads must be >= K num_heads and divisible by K num_heads, and K num_heads must be greater than 0. Got Q: {q}, K: {k}",
           "heads a multiple of the kv heads";
    CHUNKS: "Chunks of q and k are positive multiples of 32 rows."
        => "{name} must be a positive multiple of TILE_SIZE. Got {name}: {chunk}, TILE_SIZE: 32", "a multiple of 32";
    GRID_ON_CARD: "The grid of the program config is on the card." in "sdpa_program_factory.cpp"
        => "Provided grid {x}x{y} must not contain more cores than the device", "a grid within {width}x{height}";
    RESULT_INTERLEAVED: "The result is interleaved."
        => "sharded output {memory}", "L1 or DRAM interleaved";
}

/// q, k and v interleaved -> the shape of q, interleaved.
pub(super) fn check(args: &Sdpa, given: &[&TensorSpec], card: &Card) -> Answer {
    let [q, k, v] = operands(given)?;
    let mut checks = Checks::new();
    for tensor in [q, k, v] {
        require_operand(tensor, &mut checks);
    }
    checks.settle()?;
    let (heads, rows, head_dim) = (q.shape[1], q.shape[2], q.shape[3]);
    let kv_heads = k.shape[1];
    checks.require(&SAME_ROWS, k.shape[2] == rows, values![q = rows, k = k.shape[2]]);
    checks.require(
        &SAME_COLUMNS,
        k.shape == v.shape && k.columns() == head_dim,
        values![k = k.shape, v = v.shape, rows, head_dim],
    );
    checks.require(&HEADS, heads >= kv_heads && heads.is_multiple_of(kv_heads), values![q = heads, k = kv_heads]);
    require_program(args.program, card, &mut checks);
    checks.require(&RESULT_INTERLEAVED, !args.memory.is_sharded(), values![memory = args.memory]);
    let output = TensorSpec::tile(q.shape.clone(), q.dtype, args.memory.clone());
    require_placement(&output, card, &mut checks);
    checks.finish(|| Outcome {
        outputs: vec![output],
        circular_buffers: bytes(args, q, k, v, card),
        programs: 1,
        ..Outcome::default()
    })
}

fn require_operand(tensor: &TensorSpec, checks: &mut Checks) {
    checks.require(
        &TYPE,
        matches!(tensor.dtype, DType::Bf16 | DType::Bfp8 | DType::Bfp4),
        values![dtype = tensor.dtype],
    );
    checks.require(&TILED, tensor.layout == Layout::Tile, values![]);
    checks.require(&INTERLEAVED, !tensor.memory.is_sharded(), values![memory = tensor.memory]);
    checks.require(
        &SHAPE,
        matches!(*tensor.shape.as_slice(), [1, 1..=u32::MAX, 1..=MOST_ROWS, d @ 1..=MOST_COLUMNS] if whole_tiles(d)),
        values![shape = tensor.shape],
    );
}

fn require_program(program: SdpaProgram, card: &Card, checks: &mut Checks) {
    for (name, chunk) in [("q_chunk_size", program.q_chunk), ("k_chunk_size", program.k_chunk)] {
        checks.require(&CHUNKS, (1..=MOST_CHUNK).contains(&chunk) && chunk.is_multiple_of(TILE), values![name, chunk]);
    }
    let ((x, y), (width, height)) = (program.grid, card.grid);
    checks.require(&GRID_ON_CARD, x > 0 && y > 0 && x <= width && y <= height, values![x, y, width, height]);
}

/// Sizes of one call, in chunks and tiles.
#[derive(Debug, Clone, Copy)]
struct Cut {
    /// Chunks of queries per head, of keys.
    q_chunks: u64,
    k_chunks: u64,
    /// Tiles of rows of a chunk of queries, of keys.
    q: u64,
    k: u64,
    /// Tiles of columns.
    columns: u64,
}

impl Cut {
    fn new(program: SdpaProgram, q: &TensorSpec) -> Self {
        Cut {
            q_chunks: u64::from(q.rows().div_ceil(program.q_chunk)),
            k_chunks: u64::from(q.rows().div_ceil(program.k_chunk)),
            q: u64::from(program.q_chunk / TILE),
            k: u64::from(program.k_chunk / TILE),
            columns: q.tile_columns(),
        }
    }

    /// Chunks of keys that chunk `i` of queries sees.
    fn seen(&self, i: u64) -> u64 {
        ((i + 1) * self.q).div_ceil(self.k).min(self.k_chunks)
    }

    /// True when chunks of queries pair up and all pairs see equally many chunks of keys.
    fn is_balanced(&self) -> bool {
        let n = self.q_chunks;
        let pair = |i: u64| self.seen(i) + self.seen(n - 1 - i);
        n.is_multiple_of(2) && (1..n / 2).all(|i| pair(i) == pair(0))
    }
}

/// Slots of keys and values, and bytes of flags, when cores forward them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Forwarding {
    slots: u64,
    flags: u64,
}

impl Forwarding {
    /// Two slots and no flags: every core reads for itself.
    const NONE: Forwarding = Forwarding { slots: 2, flags: 0 };

    /// When [the release](crate::release) forwards, found by trying sizes, grids, formats and heads on the mock.
    fn new(cut: &Cut, args: &Sdpa, k: &TensorSpec, card: &Card) -> Self {
        let wide = cut.columns >= 4 && k.dtype == DType::Bf16 && !args.compute.fp32_dest_acc;
        let cores = args.program.grid.0 * args.program.grid.1;
        let forwards = card.arch == Arch::Blackhole
            && cut.q <= 4
            && cores >= if wide { 32 } else { 64 }
            && !(args.compute.fp32_dest_acc && k.dtype.is_block())
            && cut.is_balanced();
        if !forwards {
            return Forwarding::NONE;
        }
        let slots = if cut.q >= 3 && cut.k <= 8 { 3 } else { 2 };
        Forwarding { slots, flags: 32 * (slots + 1) }
    }
}

/// All circular buffers.
fn bytes(args: &Sdpa, q: &TensorSpec, k: &TensorSpec, v: &TensorSpec, card: &Card) -> u64 {
    let cut = Cut::new(args.program, q);
    let forwarding = Forwarding::new(&cut, args, k, card);
    let (bf16, f32) = (DType::Bf16.tile_bytes(), DType::F32.tile_bytes());
    let precise = args.compute.fp32_dest_acc;
    let cores = u64::from(args.program.grid.0 * args.program.grid.1);
    let several = cut.q_chunks.is_multiple_of(2) || u64::from(q.shape[1]).saturating_mul(cut.q_chunks) > cores;
    let queries = if several { 2 } else { 1 } * cut.q * cut.columns * q.dtype.tile_bytes();
    let keys = forwarding.slots * cut.k * cut.columns * (k.dtype.tile_bytes() + v.dtype.tile_bytes());
    // Two mask tiles, the identity, a column of ones; without fp32 accumulation also a scratch tile for reciprocals.
    let constants = if precise { 4 } else { 5 } * bf16;
    let scores = cut.q * cut.k * if precise { f32 } else { bf16 };
    let accumulators = 2 * cut.q * cut.columns * bf16;
    // Maxima (two), exponential, and sums (two, in fp32 when precise).
    let statistics = cut.q * (3 * bf16 + 2 * if precise { f32 } else { bf16 });
    let output = output_tiles(&cut, precise) * q.dtype.tile_bytes();
    queries + keys + forwarding.flags + constants + scores + accumulators + statistics + output
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
