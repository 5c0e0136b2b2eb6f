//! Online softmax over a stream of keys and values, for a few queries at once.
//!
//! Positions are taken one chunk at a time: scores of the chunk, then the running maximum and the rescaling of
//! what has been summed, then the chunk's values. A chunk starts at a multiple of [`CHUNK`] for every query,
//! so a query's arithmetic does not depend on which others share the pass.

use half::bf16;

use super::MAX_HEAD_DIM;
#[cfg(target_arch = "x86_64")]
use super::vectors::{Avx2, Avx512};
use super::vectors::{LANES, Portable, Vectors};
use crate::exp::exp;
use crate::norm::pairwise;
use crate::rounding::widen;

/// Queries of a pass.
pub(super) const QUERIES: usize = 8;
/// Positions of a chunk.
const CHUNK: usize = 2 * LANES;

/// Where keys and values come from. `out` has head_dim elements.
pub(super) trait Rows {
    /// The key at a position.
    fn key(&self, position: usize, out: &mut [f32]);
    /// The value at a position.
    fn value(&self, position: usize, out: &mut [f32]);
}

/// A query and what it has seen so far.
#[derive(Clone, Copy)]
pub(super) struct Query {
    /// Scaled query.
    q: [f32; MAX_HEAD_DIM],
    /// Weighted sum of values.
    sum: [f32; MAX_HEAD_DIM],
    /// Sum of weights.
    mass: f32,
    largest: f32,
    limit: usize,
    /// Scores, then weights, of the current chunk.
    weights: [f32; CHUNK],
}

impl Query {
    pub const EMPTY: Query = Query {
        q: [0.0; MAX_HEAD_DIM],
        sum: [0.0; MAX_HEAD_DIM],
        mass: 0.0,
        largest: f32::NEG_INFINITY,
        limit: 0,
        weights: [0.0; CHUNK],
    };

    /// Takes a query that sees positions below `limit`.
    pub fn load(&mut self, q: &[bf16], scale: f32, limit: usize) {
        for (s, q) in self.q.iter_mut().zip(q) {
            *s = widen(*q) * scale;
        }
        self.limit = limit;
    }

    /// The attention's result; zeros if the query saw nothing.
    pub fn result(&self) -> impl Iterator<Item = f32> {
        let inverse = if self.mass > 0.0 { 1.0 / self.mass } else { 0.0 };
        self.sum.iter().map(move |s| s * inverse)
    }

    /// Turns the first `count` scores into weights relative to the new maximum.
    #[inline(always)]
    fn weigh(&mut self, dim: usize, count: usize) {
        // What lies beyond the last score weighs nothing; whole vectors are taken either way.
        self.weights[count..].fill(f32::NEG_INFINITY);
        let mut largest = self.largest;
        for s in &self.weights {
            largest = if *s > largest { *s } else { largest };
        }
        let shrink = exp(self.largest - largest);
        for s in &mut self.weights {
            *s = exp(*s - largest);
        }
        let mut lanes = [0f32; LANES];
        for i in 0..LANES {
            lanes[i] = self.weights[i] + self.weights[i + LANES];
        }
        self.largest = largest;
        self.mass = self.mass * shrink + pairwise(lanes);
        for s in &mut self.sum[..dim] {
            *s *= shrink;
        }
    }
}

/// Runs every query over the positions it sees. `dim` is at most [`MAX_HEAD_DIM`].
pub(super) fn attend(dim: usize, queries: &mut [Query], rows: &impl Rows) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
        {
            // SAFETY: the machine has the three features that `attend_avx512` is compiled for: they were detected above.
            return unsafe { attend_avx512(dim, queries, rows) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the machine has AVX2, which `attend_avx2` is compiled for: it was detected above.
            return unsafe { attend_avx2(dim, queries, rows) };
        }
    }
    // SAFETY: `Portable` needs no instruction set beyond the target's own.
    unsafe { attend_with::<Portable>(dim, queries, rows) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn attend_avx512(dim: usize, queries: &mut [Query], rows: &impl Rows) {
    // SAFETY: this function is compiled for the features of `Avx512`, so its caller has made sure of them.
    unsafe { attend_with::<Avx512>(dim, queries, rows) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn attend_avx2(dim: usize, queries: &mut [Query], rows: &impl Rows) {
    // SAFETY: this function is compiled for the feature of `Avx2`, so its caller has made sure of it.
    unsafe { attend_with::<Avx2>(dim, queries, rows) }
}

/// # Safety
/// The machine has the instruction set V.
#[inline(always)]
unsafe fn attend_with<V: Vectors>(dim: usize, queries: &mut [Query], rows: &impl Rows) {
    let end = queries.iter().map(|q| q.limit).max().unwrap_or(0);
    // Whole vectors are taken: what lies beyond dim is 0 in queries and rows.
    let whole = dim.next_multiple_of(LANES);
    let mut rows_of_chunk = [0f32; CHUNK * MAX_HEAD_DIM];
    let chunk = &mut rows_of_chunk[..CHUNK * whole];
    for first in (0..end).step_by(CHUNK) {
        let last = end.min(first + CHUNK);
        for (row, position) in chunk.chunks_exact_mut(whole).zip(first..last) {
            rows.key(position, &mut row[..dim]);
        }
        for q in &mut *queries {
            let count = CHUNK.min(q.limit.saturating_sub(first));
            if count > 0 {
                // SAFETY: the caller promises the instruction set; `whole` is a multiple of `LANES`, and the chunk holds
                // `CHUNK >= count` rows of it.
                unsafe { V::dots(&q.q[..whole], chunk, &mut q.weights[..count]) };
                q.weigh(dim, count);
            }
        }
        for (row, position) in chunk.chunks_exact_mut(whole).zip(first..last) {
            rows.value(position, &mut row[..dim]);
        }
        for q in &mut *queries {
            let count = CHUNK.min(q.limit.saturating_sub(first));
            // SAFETY: the caller promises the instruction set; `whole` is a multiple of `LANES`, and the chunk holds
            // `CHUNK >= count` rows of it.
            unsafe { V::add(&mut q.sum[..whole], &q.weights[..count], chunk) }
        }
    }
}
