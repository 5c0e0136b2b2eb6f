//! The time of attention in decode and prefill: the busiest core's work on its chunks of keys, the bytes that all cores read, and the
//! combination of partial results.
//!
//! A core works through its chunks of keys one after another. Every operation of the flash attention loop is started once per chunk. Each
//! tile of scores takes a product over the head's columns, a softmax, and a product with the values. Reading overlaps with that; it is
//! bound by the core's own share of the NoC and by all cores' share of DRAM.

use bitnetc_plan::{Bound, DType};

use super::Kernel;
use crate::target::Calibration;

/// Work of one core.
pub struct Work {
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
    pub fn of(chunks: u64, [rows, keys, columns]: [u64; 3], cache: DType, cycles: f64) -> Self {
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

/// The kernel of an attention whose busiest core has this work. All cores' reading takes `streamed` microseconds, and partial results are
/// combined in `rounds` rounds.
pub fn kernel(work: &Work, streamed: f64, rounds: u32, c: &Calibration) -> Kernel {
    let compute = work.compute_us(c);
    let read = work.read_us(c).max(streamed);
    let us = c.attention.start_us + compute.max(read) + f64::from(rounds) * c.attention.combine_us;
    Kernel { us, fpu_cycles: work.fpu_cycles, bound: if compute > read { Bound::Compute } else { Bound::Dram } }
}
