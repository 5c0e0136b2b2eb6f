//! What attention takes: the busiest core's chunks of keys, the bytes all cores read, and partial results made one.
//!
//! A core takes its chunks of keys one after another: every block operation of the flash loop starts once per chunk, each tile of scores
//! is a product over the head's columns, a softmax, and a product into them. Reading runs beside that, bound by the core's own share of
//! the NoC and by all cores' share of DRAM.

use bitnetc_plan::op::{Sdpa, SdpaDecode};
use bitnetc_plan::ttnn::Split;
use bitnetc_plan::{Bound, DType, TILE, TensorSpec};

use super::{Kernel, tile_cycles};
use crate::target::Calibration;

/// Work of one core.
struct Work {
    /// Chunks of keys, each with all its queries.
    chunks: f64,
    /// Tiles of scores.
    scores: f64,
    /// Cycles of the matrix unit.
    fpu_cycles: f64,
    /// Bytes of keys and values.
    bytes: f64,
}

impl Work {
    /// `chunks` chunks of `rows` tiles of queries by `keys` tiles of keys.
    fn of(chunks: u64, [rows, keys, columns]: [u64; 3], cache: DType, cycles: f64) -> Self {
        let scores = (chunks * rows * keys) as f64;
        Work {
            chunks: chunks as f64,
            scores,
            fpu_cycles: 2.0 * scores * columns as f64 * cycles,
            bytes: (2 * chunks * keys * columns * cache.tile_bytes()) as f64,
        }
    }

    fn compute_us(&self, c: &Calibration) -> f64 {
        let a = &c.attention;
        self.chunks * a.chunk_us + self.scores * a.score_tile_us + self.fpu_cycles / (c.clock_ghz * 1000.0)
    }

    fn read_us(&self, c: &Calibration) -> f64 {
        self.bytes / (c.attention.core_gb_per_s * 1000.0)
    }
}

fn kernel(work: &Work, streamed: f64, rounds: u32, c: &Calibration) -> Kernel {
    let compute = work.compute_us(c);
    let read = work.read_us(c).max(streamed);
    let us = c.attention.start_us + compute.max(read) + f64::from(rounds) * c.attention.combine_us;
    Kernel { us, fpu_cycles: work.fpu_cycles, bound: if compute > read { Bound::Compute } else { Bound::Dram } }
}

/// Of `cores`, those that get no head of any user, however long the context.
pub fn idle(args: &SdpaDecode, operands: &[&TensorSpec], cores: u32) -> u32 {
    let (users, kv_heads) = (operands[0].shape[1], operands[1].shape[1]);
    let split = Split::of(args.program.grid.0 * args.program.grid.1, users, kv_heads);
    let busy = split.map_or(0, |s| users * s.cores_per_head * kv_heads.div_ceil(s.heads_per_core.max(1)));
    cores.saturating_sub(busy)
}

/// One token per user over the cache up to `position`; `bytes` is what all cores read.
///
/// TT-NN deals the grid as [`Split`] says. The chunks of a head go to its cores as evenly as they can; cores without a chunk idle, the
/// others' results are combined two by two, in as many rounds as that takes (`sdpa_flash_decode.cpp`).
pub fn decode(args: &SdpaDecode, operands: &[&TensorSpec], c: &Calibration, position: u32, bytes: u64) -> Kernel {
    let (q, cache) = (operands[0], operands[1]);
    let (users, kv_heads) = (q.shape[1], cache.shape[1]);
    let (x, y) = args.program.grid;
    // The rule refuses what cannot be split; a call that is only priced may be one user per core.
    let split = Split::of(x * y, users, kv_heads).unwrap_or(Split { cores_per_head: 1, heads_per_core: kv_heads });
    let chunk = args.program.k_chunk.max(TILE);
    let chunks = position.saturating_add(1).div_ceil(chunk);
    let active = chunks.min(split.cores_per_head).max(1);
    let of_a_core = u64::from(split.heads_per_core) * u64::from(chunks.div_ceil(active));
    let tiles = [1, u64::from(chunk / TILE), cache.tile_columns()];
    let work = Work::of(of_a_core, tiles, cache.dtype, tile_cycles(c, args.compute.fidelity));
    let streamed = bytes as f64 / (c.attention.gb_per_s * 1000.0);
    kernel(&work, streamed, active.next_power_of_two().ilog2(), c)
}

/// A whole prompt, causal; `streamed` is what reading and writing takes all cores.
///
/// A head's chunks of queries are worked on in pairs, the first with the last, where they pair up; pairs of all heads are dealt to the
/// grid.
pub fn prefill(args: &Sdpa, operands: &[&TensorSpec], c: &Calibration, streamed: f64) -> Kernel {
    let (q, k) = (operands[0], operands[1]);
    let cut = Cut::new(args, q);
    let cores = u64::from(args.program.grid.0 * args.program.grid.1).max(1);
    let heads = u64::from(q.shape[1]);
    let n = cut.q_chunks;
    let paired = n.is_multiple_of(2);
    let (units, heaviest) = if paired {
        (n / 2, (0..n / 2).map(|i| cut.seen(i) + cut.seen(n - 1 - i)).max().unwrap_or(0))
    } else {
        (n, cut.seen(n - 1))
    };
    let chunks = (heads * units).div_ceil(cores) * heaviest;
    let cycles = tile_cycles(c, args.compute.fidelity);
    let work = Work::of(chunks, [cut.q, cut.k, q.tile_columns()], k.dtype, cycles);
    kernel(&work, streamed, 0, c)
}

/// Bytes of keys and values that prefill reads: all that a chunk of queries sees, once for each.
pub fn prefill_reads(args: &Sdpa, operands: &[&TensorSpec]) -> u64 {
    let (q, k, v) = (operands[0], operands[1], operands[2]);
    let cut = Cut::new(args, q);
    let seen: u64 = (0..cut.q_chunks).map(|i| cut.seen(i)).sum();
    let tiles = u64::from(q.shape[1]) * seen * cut.k * q.tile_columns();
    tiles * (k.dtype.tile_bytes() + v.dtype.tile_bytes())
}

/// Bytes of keys and values that decode reads at a position: whole chunks, every user's, every kv head's.
pub fn decode_reads(args: &SdpaDecode, operands: &[&TensorSpec], position: u32) -> u64 {
    let (users, cache) = (u64::from(operands[0].shape[1]), operands[1]);
    let chunk = u64::from(args.program.k_chunk.max(TILE));
    let tiles = (u64::from(position) + 1).next_multiple_of(chunk) / u64::from(TILE) * cache.tile_columns();
    2 * users * u64::from(cache.shape[1]) * tiles * cache.dtype.tile_bytes()
}

/// A head's queries and keys in chunks; sizes of chunks in tiles.
struct Cut {
    q_chunks: u64,
    k_chunks: u64,
    q: u64,
    k: u64,
}

impl Cut {
    fn new(args: &Sdpa, q: &TensorSpec) -> Self {
        let (q_chunk, k_chunk) = (args.program.q_chunk.max(TILE), args.program.k_chunk.max(TILE));
        Cut {
            q_chunks: u64::from(q.rows().div_ceil(q_chunk)).max(1),
            k_chunks: u64::from(q.rows().div_ceil(k_chunk)),
            q: u64::from(q_chunk / TILE),
            k: u64::from(k_chunk / TILE),
        }
    }

    /// Chunks of keys that chunk `i` of queries sees.
    fn seen(&self, i: u64) -> u64 {
        ((i + 1) * self.q).div_ceil(self.k).min(self.k_chunks)
    }
}

#[cfg(test)]
mod tests;
