//! `chunked_scaled_dot_product_attention`: two kernels, of which `fp32_dest_acc_en` chooses. `scaled_dot_product_attention` with `is_causal`
//! has the same ones; a chunk's page table and start change where keys are read from and which tiles are on the diagonal, not the sums.
//!
//! | | bf16 Dst: `compute_streaming.hpp`, `sdpa_inner_loop_step` | fp32 Dst: `compute_common.hpp`, the standard loop |
//! |---|---|---|
//! | scores, weights, partial sums | bf16 | f32 |
//! | exp of the scores | the approximate one, whatever `exp_approx_mode` says: errors of 3 % | good to f32 |
//! | sums | 32 columns, tile after tile, in L1; at the end by a matmul with a column of ones | the same |
//! | between key chunks | corrected with e^(old maximum - new), by a polynomial of degree 2 | by the f32 exp |
//!
//! Tiles above the diagonal have weights of 0 and change nothing, so they are left out.

use half::bf16;
use rayon::prelude::*;

use super::flash::{KeyValueTiles, Rows, activations, raise_maxima, weights};
use super::fpu::{Column, fadd, fmul_scalar, rna, rne, tf32, truncated};
use super::sfpu::{approximate_slope, exp_approximate, exp_f32, exp_polynomial, reciprocal};
use super::{Compute, Known};
use crate::attention::{Cache, Chunk, Pages};
use crate::error::{NumericsError, check_multiple};
use crate::format::TILE;
use crate::mvmul::Fidelity;
use crate::operands::Activation;
use crate::rounding::bf16_packed;

/// The arguments of the op that decide the softmax.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrefillSoftmax {
    /// Factor of the scores.
    pub scale: f32,
    /// Key positions of a chunk; a multiple of 32.
    pub k_chunk: usize,
}

/// Whether [`sdpa_prefill`] has the kernel's bits, for heads of `dim`.
pub fn sdpa_prefill_known(dim: usize, how: Compute) -> Known {
    match (how.fidelity, dim) {
        (Fidelity::HiFi2 | Fidelity::HiFi4, 32 | 64 | 96 | 128 | 256) => Known::Exact,
        (Fidelity::HiFi2 | Fidelity::HiFi4, _) => {
            Known::Unknown("prefill's attention was compared for heads of 32, 64, 96, 128 and 256 only")
        }
        (Fidelity::LoFi | Fidelity::HiFi3, _) => {
            Known::Unknown("prefill's attention was compared at HiFi2 and HiFi4 only")
        }
    }
}

/// Causal attention of a chunk of one user's prompt: query position s attends positions 0..=s.
///
/// q and out are [heads, rows, dim]; the chunk starts at a multiple of 32.
///
/// # Errors
/// [`NumericsError::Dimension`] or [`NumericsError::Multiple`] if shapes disagree, [`NumericsError::Position`] or
/// [`NumericsError::Page`] if a position or a block it needs does not exist.
pub fn sdpa_prefill(
    q: &[bf16],
    (keys, values): (Cache<'_>, Cache<'_>),
    pages: Pages<'_>,
    chunk: Chunk,
    softmax: PrefillSoftmax,
    how: Compute,
    out: &mut [bf16],
) -> Result<(), NumericsError> {
    let (kv_heads, dim) = keys.heads();
    check_multiple("head dimension", dim, TILE)?;
    check_multiple("positions of a key chunk", softmax.k_chunk, TILE)?;
    if !chunk.start.is_multiple_of(TILE) {
        let what = "position of the first query";
        return Err(NumericsError::Multiple { what, got: chunk.start, multiple: TILE });
    }
    let heads = chunk.check((q.len(), out.len()), (keys, values), pages)?;
    check_multiple("query heads", heads, kv_heads)?;
    let table = pages.of_only_user();
    let tiles: Vec<KeyValueTiles> = (0..kv_heads)
        .into_par_iter()
        .map(|head| {
            let (key, value) = (|s| keys.row(table, 0, head, s), |s| values.row(table, 0, head, s));
            KeyValueTiles::new(chunk.start + chunk.rows, dim, key, value)
        })
        .collect();
    let ones = Column::new(1.0, how);
    let plane = chunk.rows * dim;
    out.par_chunks_mut(plane).zip(q.par_chunks(plane)).enumerate().for_each(|(head, (out, q))| {
        let cache = &tiles[head * kv_heads / heads];
        let rows = out.par_chunks_mut(TILE * dim).zip(q.par_chunks(TILE * dim));
        rows.enumerate().for_each(|(at, (out, q))| {
            let tile = chunk.start / TILE + at;
            QueryTile { cache, tile, dim, softmax, how }.attend(&activations(q), &ones, out);
        });
    });
    Ok(())
}

/// Up to 32 query positions of one head.
struct QueryTile<'a> {
    cache: &'a KeyValueTiles,
    /// Their place among the tiles of positions of the whole context.
    tile: usize,
    dim: usize,
    softmax: PrefillSoftmax,
    how: Compute,
}

/// The state of the online softmax.
struct State {
    maxima: [f32; TILE],
    sums: Rows,
    values: Vec<Rows>,
}

impl QueryTile<'_> {
    fn attend(&self, queries: &[Activation], ones: &Column, out: &mut [bf16]) {
        let live = queries.len() / self.dim;
        let per_chunk = self.softmax.k_chunk / TILE;
        let mut state: Option<State> = None;
        let mut first = 0;
        while first <= self.tile {
            let last = (first + per_chunk - 1).min(self.tile);
            let before = state.as_ref().map(|state| state.maxima);
            let chunk = self.chunk(first..=last, queries, live, before);
            state = Some(match state {
                None => chunk,
                Some(before) => self.join(before, chunk, live),
            });
            first = last + 1;
        }
        let Some(state) = state else { return };
        let rows: [&[f32]; TILE] = std::array::from_fn(|r| state.sums[r].as_slice());
        let sums = ones.sums(&rows[..live]);
        for (r, (out, sum)) in out.chunks_mut(self.dim).zip(sums).enumerate() {
            let inverse =
                if self.how.fp32_dest { tf32(reciprocal(tf32(sum), 2, self.how.arch)) } else { rne(1.0 / sum) };
            for (values, out) in state.values.iter().zip(out.chunks_mut(TILE)) {
                let mut product = [0f32; TILE];
                fmul_scalar(&values[r], inverse, self.how, &mut product);
                out.iter_mut().zip(product).for_each(|(o, v)| *o = bf16_packed(v.to_bits()));
            }
        }
    }

    /// Weights, sums and weighted values of some key tiles.
    fn chunk(
        &self,
        tiles: std::ops::RangeInclusive<usize>,
        queries: &[Activation],
        live: usize,
        before: Option<[f32; TILE]>,
    ) -> State {
        let fp32 = self.how.fp32_dest;
        let mut scores = vec![[[0f32; TILE]; TILE]; tiles.clone().count()];
        let mut maxima = [f32::NEG_INFINITY; TILE];
        let seen = |tile: usize| move |row: usize| if tile < self.tile { TILE } else { row + 1 };
        for (tile, scores) in tiles.clone().zip(&mut scores) {
            self.cache.scores(tile, queries, self.how, &mut scores[..live]);
            raise_maxima(&scores[..live], seen(tile), &mut maxima);
        }
        if fp32 {
            maxima.iter_mut().for_each(|m| *m = truncated(*m));
        }
        if let Some(before) = before {
            maxima.iter_mut().zip(before).for_each(|(m, b)| *m = m.max(b));
        }
        let scale = self.softmax.scale;
        let slope = approximate_slope(scale);
        let mut sums = [[0f32; TILE]; TILE];
        let mut dst = vec![[[0u32; TILE]; TILE]; self.dim / TILE];
        for (tile, scores) in tiles.zip(&mut scores) {
            let scores = &mut scores[..live];
            if fp32 {
                weights(scores, &maxima, seen(tile), |d| exp_f32(d * scale));
            } else {
                weights(scores, &maxima, seen(tile), |d| exp_approximate(rna(d), slope));
            }
            for (sums, row) in sums.iter_mut().zip(&*scores) {
                sums.iter_mut().zip(row).for_each(|(s, p)| *s = if fp32 { *s + p } else { rne(*s + p) });
            }
            self.cache.weigh(tile, scores, self.how, &mut dst);
        }
        let values = dst.into_iter().map(|rows| rows.map(|row| row.map(|v| rna(f32::from_bits(v))))).collect();
        State { maxima, sums, values }
    }

    /// Corrects what came before to the maxima of `chunk` and adds it there.
    fn join(&self, before: State, mut chunk: State, live: usize) -> State {
        let fp32 = self.how.fp32_dest;
        let scale = truncated(self.softmax.scale);
        for r in 0..live {
            let d = fadd(before.maxima[r], -chunk.maxima[r]);
            let factor = rna(exp_polynomial(if fp32 { d } else { rna(d) } * scale, fp32));
            let mut product = [0f32; TILE];
            fmul_scalar(&before.sums[r], factor, self.how, &mut product);
            for (sum, p) in chunk.sums[r].iter_mut().zip(product) {
                *sum = if fp32 { fadd(*sum, p) } else { rne(*sum + p) };
            }
            for (values, old) in chunk.values.iter_mut().zip(&before.values) {
                fmul_scalar(&old[r], factor, self.how, &mut product);
                values[r].iter_mut().zip(product).for_each(|(v, p)| *v = rne(*v + rna(p)));
            }
        }
        chunk
    }
}
