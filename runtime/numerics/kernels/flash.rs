//! The parts that the attention kernels share: scores of a tile of keys, weighted sums of a tile of values, softmax weights.

use half::bf16;

use super::Compute;
use super::fpu::fadd;
use crate::format::TILE;
use crate::lanes::Lanes;
use crate::operands::{Activation, SrcATile};
use crate::rounding::widen;
use crate::simd::{Loop, vectorised};

/// Rows of 32.
pub(crate) type Rows = [[f32; TILE]; TILE];

/// Keys and values of one KV head as the FPU sees them: for each tile of 32 positions a tile of 32 features after the other.
pub(crate) struct KeyValueTiles {
    keys: Vec<SrcATile>,
    values: Vec<SrcATile>,
    across: usize,
}

impl KeyValueTiles {
    /// `count` positions of `dim` features; rows beyond are zeros.
    pub fn new<'a>(
        count: usize,
        dim: usize,
        key: impl Fn(usize) -> &'a [bf16],
        value: impl Fn(usize) -> &'a [bf16],
    ) -> Self {
        let across = dim / TILE;
        let tiles = count.div_ceil(TILE);
        let (mut keys, mut values) =
            (vec![SrcATile::zeroed(); tiles * across], vec![SrcATile::zeroed(); tiles * across]);
        for tile in 0..tiles {
            let live = TILE.min(count - tile * TILE);
            for part in 0..across {
                let gather = |row: &dyn Fn(usize) -> &'a [bf16]| {
                    let mut rows = [[0u32; TILE]; TILE];
                    for (i, to) in rows.iter_mut().enumerate().take(live) {
                        let from = &row(tile * TILE + i)[part * TILE..(part + 1) * TILE];
                        to.iter_mut().zip(from).for_each(|(t, v)| *t = u32::from(v.to_bits()) << 16);
                    }
                    rows
                };
                let (k, v) = (gather(&key), gather(&value));
                keys[tile * across + part].set(|d| std::array::from_fn(|n| k[n][d]));
                values[tile * across + part].set(|d| v[d]);
            }
        }
        KeyValueTiles { keys, values, across }
    }

    /// Scores of `queries` ([rows, dim]) by the keys of `tile`, as Dst holds them.
    pub fn scores(&self, tile: usize, queries: &[Activation], how: Compute, out: &mut [[f32; TILE]]) {
        let dim = self.across * TILE;
        let mut dst = [[0u32; TILE]; TILE];
        let live = queries.len() / dim;
        for part in 0..self.across {
            let mut rows: [&[Activation; TILE]; TILE] = [&NOTHING; TILE];
            for (row, query) in rows.iter_mut().zip(queries.chunks(dim)) {
                if let Some(features) = query.as_chunks::<TILE>().0.get(part) {
                    *row = features;
                }
            }
            let keys = &self.keys[tile * self.across + part];
            Lanes::best().accumulate(keys, &rows[..live], &mut dst[..live], how.accumulation());
        }
        out.iter_mut().zip(dst).for_each(|(o, d)| *o = d.map(f32::from_bits));
    }

    /// Adds the values of `tile`, weighted, to `dst`: for each tile of features the Dst of each row.
    pub fn weigh(&self, tile: usize, weights: &[[f32; TILE]], how: Compute, dst: &mut [[[u32; TILE]; TILE]]) {
        let mut operands = [NOTHING; TILE];
        for (to, from) in operands.iter_mut().zip(weights) {
            *to = from.map(|v| Activation::from_bits(v.to_bits()));
        }
        let rows: [&[Activation; TILE]; TILE] = std::array::from_fn(|r| &operands[r]);
        let live = weights.len();
        for (values, dst) in self.values[tile * self.across..].iter().zip(dst) {
            Lanes::best().accumulate(values, &rows[..live], &mut dst[..live], how.accumulation());
        }
    }
}

const NOTHING: [Activation; TILE] = [Activation { high: 0, low: 0, exponent: crate::operands::ZERO, sign: 0 }; TILE];

/// Queries as SrcB sees them.
pub(crate) fn activations(q: &[bf16]) -> Vec<Activation> {
    q.iter().map(|v| Activation::from_bits(widen(*v).to_bits())).collect()
}

/// The largest of each row's first `seen(row)` scores, and no less than `least`.
pub(crate) fn raise_maxima(scores: &[[f32; TILE]], seen: impl Fn(usize) -> usize, maxima: &mut [f32]) {
    for (r, (row, m)) in scores.iter().zip(maxima).enumerate() {
        *m = row[..seen(r).min(TILE)].iter().fold(*m, |m, v| m.max(*v));
    }
}

/// Turns scores into weights: `exp` of the difference to the row's maximum as the FPU subtracts it; 0 from `seen(row)` on.
pub(crate) fn weights(
    scores: &mut [[f32; TILE]],
    maxima: &[f32],
    seen: impl Fn(usize) -> usize,
    exp: impl Fn(f32) -> f32,
) {
    vectorised(Weights { scores, maxima, exp: &exp });
    for (r, row) in scores.iter_mut().enumerate() {
        row[seen(r).min(TILE)..].fill(0.0);
    }
}

struct Weights<'a, F> {
    scores: &'a mut [[f32; TILE]],
    maxima: &'a [f32],
    exp: &'a F,
}

impl<F: Fn(f32) -> f32> Loop for Weights<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (row, m) in self.scores.iter_mut().zip(self.maxima) {
            row.iter_mut().for_each(|s| *s = (self.exp)(fadd(*s, -m)));
        }
    }
}
