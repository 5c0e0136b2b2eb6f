//! `paged_scaled_dot_product_attention_decode`: `sdpa_flash_decode.cpp`, causal.
//!
//! Every buffer is bf16. With a bf16 Dst the exponential is `exp_21f` of a truncated argument, with an fp32 Dst it is good to f32; for 16
//! query heads or fewer it is the approximate one in both. A user's positions go in chunks to the cores of a KV head, the last chunks to core
//! 0 (`get_workload_for_core`). A core takes its chunks one after another and corrects what it has to each new maximum; then the cores'
//! results meet in a binary tree (`correction_block`).

use std::ops::Range;

use half::bf16;
use rayon::prelude::*;

use super::flash::{KeyValueTiles, activations, raise_maxima, weights};
use super::fpu::{Column, fadd, fadd_dst, fmul_scalar, rna, rne, truncated};
use super::sfpu::{
    COLUMN_CONSTANT, TILE_CONSTANT, approximate_slope, exp_21f, exp_approximate, exp_approximate_fp32, exp_f32,
    exp_polynomial,
};
use super::{Compute, Known};
use crate::attention::{Cache, Pages, check_pages};
use crate::error::{NumericsError, check_dim, check_multiple};
use crate::format::TILE;
use crate::operands::Activation;
use crate::rounding::bf16_packed;

/// The arguments of the op that decide the softmax.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DecodeSoftmax {
    /// Factor of the scores.
    pub scale: f32,
    /// Positions of a chunk; a multiple of 32, or 0, which leaves the choice to the kernel.
    pub k_chunk: usize,
    /// Cores that share the positions of one KV head of a user.
    pub cores: usize,
}

/// Query heads of a user that fit half a tile. The kernel then works on half tiles, for which it takes the approximate exp.
const HALF_TILE: usize = TILE / 2;

/// Whether [`sdpa_decode`] has the kernel's bits, for heads of `dim` and chunks of `k_chunk` positions.
pub fn sdpa_decode_known(dim: usize, k_chunk: usize) -> Known {
    if k_chunk == 0 {
        Known::Unknown("decode's attention was compared with chunks of a given size only")
    } else if ![32, 64, 96, 128, 256].contains(&dim) {
        Known::Unknown("decode's attention was compared for heads of 32, 64, 96, 128 and 256 only")
    } else {
        Known::Exact
    }
}

impl DecodeSoftmax {
    /// Positions of a chunk when there are so many (`get_dynamic_Sk_chunk_t`).
    fn chunk(self, positions: usize, fp32_dest: bool) -> usize {
        let most = if fp32_dest { 4 } else { 8 };
        match self.k_chunk {
            0 => positions.div_ceil(TILE).next_power_of_two().min(most) * TILE,
            chunk => chunk,
        }
    }

    /// The chunks of core `core`, of `chunks` in all.
    fn of_core(self, core: usize, chunks: usize) -> Range<usize> {
        let cores = self.cores.max(1);
        if cores > chunks {
            return chunks - core - 1..chunks - core;
        }
        let (each, rest, reversed) = (chunks / cores, chunks % cores, cores - core - 1);
        let first = reversed * each + rest.min(reversed);
        first..first + each + usize::from(reversed < rest)
    }
}

/// Decode: one query position per user.
///
/// q and out are [users, heads, head_dim]. A user attends positions 0 to `positions[user]`, int32 bits; a negative
/// position (an idle user) gives zeros.
///
/// # Errors
/// [`NumericsError::Dimension`] or [`NumericsError::Multiple`] if shapes disagree, [`NumericsError::Position`] or
/// [`NumericsError::Page`] if a position or a block it needs does not exist.
pub fn sdpa_decode(
    q: &[bf16],
    (keys, values): (Cache<'_>, Cache<'_>),
    pages: Pages<'_>,
    positions: &[u32],
    softmax: DecodeSoftmax,
    how: Compute,
    out: &mut [bf16],
) -> Result<(), NumericsError> {
    let (users, (kv_heads, dim)) = (positions.len(), keys.heads());
    keys.check_same(&values)?;
    check_multiple("head dimension", dim, TILE)?;
    check_multiple("positions of a key chunk", softmax.k_chunk, TILE)?;
    check_dim("output elements", out.len(), q.len())?;
    check_multiple("elements of the queries", q.len(), users * kv_heads * dim)?;
    let per_user = check_pages(pages, positions, keys)?;
    let group = q.len() / (users * kv_heads * dim);
    let ones = Column::new(1.0, how);
    out.par_chunks_mut(group * dim).zip(q.par_chunks(group * dim)).enumerate().for_each(|(task, (out, q))| {
        let (user, head) = (task / kv_heads, task % kv_heads);
        let table = match pages {
            Pages::Contiguous => None,
            Pages::Table(t) => Some(&t[user * per_user..(user + 1) * per_user]),
        };
        let Ok(last) = usize::try_from(positions[user] as i32) else { return out.fill(bf16::ZERO) };
        let (key, value) = (|s| keys.row(table, user, head, s), |s| values.row(table, user, head, s));
        let cache = KeyValueTiles::new(last + 1, dim, key, value);
        let approximate = group * kv_heads <= HALF_TILE;
        let attention = Attention { cache, positions: last + 1, dim, softmax, approximate, how, ones: &ones };
        for (out, q) in out.chunks_mut(TILE * dim).zip(q.chunks(TILE * dim)) {
            attention.attend(&activations(q), out);
        }
    });
    Ok(())
}

/// One user's KV head.
struct Attention<'a> {
    cache: KeyValueTiles,
    positions: usize,
    dim: usize,
    softmax: DecodeSoftmax,
    approximate: bool,
    how: Compute,
    ones: &'a Column,
}

/// A core's results for up to 32 query heads: maximum, sum and weighted values of each.
struct Partial {
    maxima: [f32; TILE],
    sums: [f32; TILE],
    values: Vec<f32>,
}

impl Attention<'_> {
    fn attend(&self, queries: &[Activation], out: &mut [bf16]) {
        let chunks = self.positions.div_ceil(self.softmax.chunk(self.positions, self.how.fp32_dest));
        let busy = chunks.min(self.softmax.cores.max(1));
        let mut cores: Vec<Partial> =
            (0..busy).map(|core| self.core(self.softmax.of_core(core, chunks), queries)).collect();
        let mut stride = 1;
        while stride < cores.len() {
            for root in (0..cores.len() - stride).step_by(2 * stride) {
                let (left, right) = cores.split_at_mut(root + stride);
                self.join(&mut left[root], &right[0]);
            }
            stride *= 2;
        }
        let whole = &cores[0];
        let rows = out.chunks_mut(self.dim).zip(whole.values.chunks(self.dim)).zip(whole.sums);
        for ((out, values), sum) in rows {
            let inverse = if self.how.fp32_dest { rna(1.0 / sum) } else { rne(1.0 / sum) };
            let mut product = vec![0f32; self.dim];
            fmul_scalar(values, inverse, self.how, &mut product);
            out.iter_mut().zip(product).for_each(|(o, v)| *o = bf16_packed(v.to_bits()));
        }
    }

    /// The results of a core for its chunks, of which there is at least one.
    fn core(&self, chunks: Range<usize>, queries: &[Activation]) -> Partial {
        let mut all = self.chunk(chunks.start, queries, [f32::NEG_INFINITY; TILE]);
        for chunk in chunks.skip(1) {
            let mut next = self.chunk(chunk, queries, all.maxima);
            self.follow(&all, &mut next);
            all = next;
        }
        all
    }

    /// Corrects what a core had before to the maxima of its new chunk and adds it there.
    fn follow(&self, before: &Partial, chunk: &mut Partial) {
        let (fp32, scale) = (self.how.fp32_dest, truncated(self.softmax.scale));
        let mut product = vec![0f32; self.dim];
        let rows = chunk.values.chunks_mut(self.dim).zip(before.values.chunks(self.dim));
        for (r, (values, old)) in rows.enumerate() {
            let d = fadd(before.maxima[r], -chunk.maxima[r]);
            let factor = rna(exp_polynomial(if fp32 { d } else { rna(d) } * scale, fp32));
            let mut sum = [0f32];
            fmul_scalar(&before.sums[r..=r], factor, self.how, &mut sum);
            chunk.sums[r] = rna(fadd_dst(chunk.sums[r], rna(sum[0]), fp32));
            fmul_scalar(old, factor, self.how, &mut product);
            values.iter_mut().zip(&product).for_each(|(v, p)| *v = rna(fadd_dst(rna(*p), *v, fp32)));
        }
    }

    /// The results for one chunk, with maxima no less than `least`.
    fn chunk(&self, chunk: usize, queries: &[Activation], least: [f32; TILE]) -> Partial {
        let (live, fp32, scale) = (queries.len() / self.dim, self.how.fp32_dest, self.softmax.scale);
        let size = self.softmax.chunk(self.positions, fp32);
        let first = chunk * size;
        let end = (first + size).min(self.positions);
        let tiles = first / TILE..end.div_ceil(TILE);
        let seen = |tile: usize| move |_row: usize| end - tile * TILE;
        let mut scores = vec![[[0f32; TILE]; TILE]; tiles.len()];
        let mut maxima = least;
        for (tile, scores) in tiles.clone().zip(&mut scores) {
            self.cache.scores(tile, queries, self.how, &mut scores[..live]);
            scores[..live].iter_mut().flatten().for_each(|s| *s = rna(*s));
            raise_maxima(&scores[..live], seen(tile), &mut maxima);
        }
        let mut dst = vec![[[0u32; TILE]; TILE]; self.dim / TILE];
        let mut sums = [0u32; TILE];
        for (tile, scores) in tiles.zip(&mut scores) {
            let scores = &mut scores[..live];
            if self.approximate {
                let slope = approximate_slope(scale);
                let exp = |d| if fp32 { rna(exp_approximate_fp32(d, slope)) } else { exp_approximate(rna(d), slope) };
                weights(scores, &maxima, seen(tile), exp);
            } else if fp32 {
                weights(scores, &maxima, seen(tile), |d| rna(exp_f32(d * scale)));
            } else {
                weights(scores, &maxima, seen(tile), |d| exp_21f(truncated(rna(d) * scale), TILE_CONSTANT));
            }
            self.ones.add(scores.iter().map(|row| row.as_slice()), &mut sums);
            self.cache.weigh(tile, scores, self.how, &mut dst);
        }
        let mut values = vec![0f32; live * self.dim];
        for (row, values) in values.chunks_mut(self.dim).enumerate() {
            for (rows, values) in dst.iter().zip(values.chunks_mut(TILE)) {
                values.iter_mut().zip(rows[row]).for_each(|(v, d)| *v = rna(f32::from_bits(d)));
            }
        }
        Partial { maxima, sums: sums.map(|s| rna(f32::from_bits(s))), values }
    }

    /// Adds another core's results to a root's.
    fn join(&self, root: &mut Partial, other: &Partial) {
        let (fp32, scale) = (self.how.fp32_dest, truncated(self.softmax.scale));
        let (mut left, mut right) = (vec![0f32; self.dim], vec![0f32; self.dim]);
        let rows = root.values.chunks_mut(self.dim).zip(other.values.chunks(self.dim));
        for (r, (values, others)) in rows.enumerate() {
            let maximum = root.maxima[r].max(other.maxima[r]);
            let factor = |m: f32| {
                let x = (m - maximum) * scale;
                if fp32 { exp_f32(x) } else { exp_21f(x, COLUMN_CONSTANT) }
            };
            let (mine, theirs) = (factor(root.maxima[r]), factor(other.maxima[r]));
            let (a, b) = (mine * root.sums[r], theirs * other.sums[r]);
            root.sums[r] = if fp32 { rna(b + a) } else { truncated(truncated(b) + truncated(a)) };
            root.maxima[r] = maximum;
            fmul_scalar(values, rna(mine), self.how, &mut left);
            fmul_scalar(others, rna(theirs), self.how, &mut right);
            for ((v, l), r) in values.iter_mut().zip(&left).zip(&right) {
                *v = rna(fadd_dst(rna(*l), rna(*r), fp32));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mvmul::{Arch, Fidelity};

    /// With few heads both chips work on half tiles, whose exponentials are good to 3 %; with more heads they are good to a few per mille.
    #[test]
    fn exponentials_of_few_heads_are_approximate_on_both_chips() {
        let (dim, positions) = (TILE, 64);
        let number = |i: usize| bf16::from_f32(((i * 37 + 11) % 101) as f32 / 50.0 - 1.0);
        let cache: Vec<bf16> = (0..positions * dim).map(number).collect();
        let shape = (1, 1, positions, dim);
        let softmax = DecodeSoftmax { scale: 0.5, k_chunk: 64, cores: 1 };
        let attend = |heads: usize, arch| {
            let q: Vec<bf16> = (0..heads * dim).map(|i| number(i + 5)).collect();
            let caches = || Cache::new(shape, &cache).unwrap();
            let how = Compute { arch, fidelity: Fidelity::HiFi4, fp32_dest: true };
            let mut out = vec![bf16::ZERO; q.len()];
            let at = [positions as u32 - 1];
            sdpa_decode(&q, (caches(), caches()), Pages::Contiguous, &at, softmax, how, &mut out).unwrap();
            out[..dim].to_vec()
        };
        let few = attend(16, Arch::Wormhole);
        assert_eq!(few, attend(16, Arch::Blackhole));
        assert_ne!(few, attend(17, Arch::Blackhole));
    }

    #[test]
    fn every_chunk_has_one_core() {
        for (cores, chunks) in [(8, 3), (4, 4), (3, 8), (1, 5), (5, 13)] {
            let softmax = DecodeSoftmax { scale: 1.0, k_chunk: 32, cores };
            let mut of: Vec<_> = (0..cores.min(chunks)).map(|core| softmax.of_core(core, chunks)).collect();
            assert_eq!(of[0].end, chunks);
            of.reverse();
            assert_eq!(
                of.into_iter().flatten().collect::<Vec<_>>(),
                (0..chunks).collect::<Vec<_>>(),
                "{cores} {chunks}"
            );
        }
        let by_kernel = |positions| DecodeSoftmax { scale: 1.0, k_chunk: 0, cores: 1 }.chunk(positions, false);
        assert_eq!([1, 33, 65, 1000].map(by_kernel), [32, 64, 128, 256]);
    }
}
