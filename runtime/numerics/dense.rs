//! Dense weights by bf16 activations in f32: the fast path of the LM head.
//!
//! **What it equals.** Weights are what their tiles hold, activations what bf16 holds, products are exact (at
//! most 16 significant bits), and each output is their sum over rising k in f32. The device's HiFi4 result with
//! an fp32 Dst multiplies the same significands but rounds each product to 10 fraction bits of the largest of
//! its group of 8, so the two differ: by at most 2^-7 of sum |x w| in the worst case, and for random data by
//! some 2^-10 of it. A caller that needs the device's bits takes [`crate::matmul`]; this path is bound by memory.
//! Every instruction set gives the same bits: products being exact (short of the subnormal range), a fused
//! multiply-add rounds as a multiplication and an addition do.

mod kernels;

use half::bf16;
use rayon::prelude::*;

use crate::error::{NumericsError, check_len};
use crate::format::{Format, GROUP, TILE, face_row};
use crate::host_pack::pack_group;
use crate::memory::in_large_pages;
use crate::rounding::bf16_host;
use crate::tiled::TiledView;
use crate::unpack::{group_codes, unpack_row, widen_code};
use kernels::{BlockRow, Isa, ROWS};

/// A dense matrix [k, n], laid out in panels of 32 columns for streaming.
#[derive(Debug, Clone)]
pub struct DenseWeights {
    k: usize,
    n: usize,
    panels: Panels,
}

/// Panels of 32 columns, each k after k.
#[derive(Debug, Clone, PartialEq)]
enum Panels {
    /// bf16 bits.
    Bf16(Vec<[u16; TILE]>),
    /// Two's-complement codes and the exponents of their two groups: 34 bytes for 32 weights.
    Block(Vec<BlockRow>),
}

impl DenseWeights {
    /// Takes tiles of any format: block formats stay block formats, the others become bf16 (f32 truncated).
    pub fn from_tiled(tiles: TiledView<'_>) -> Self {
        let (down, across) = tiles.tiles();
        let padded_k = down * TILE;
        let format = tiles.format();
        let each = |i: usize| (i / padded_k, i % padded_k);
        let panels = if format.code_bits().is_some() {
            let row = |i| {
                let (panel, k) = each(i);
                block_row(format, k % TILE, tiles.tile(k / TILE, panel))
            };
            Panels::Block((0..padded_k * across).into_par_iter().map(row).collect())
        } else {
            let row = |i| {
                let (panel, k) = each(i);
                unpack_row(format, k % TILE, tiles.tile(k / TILE, panel)).map(|b| (b >> 16) as u16)
            };
            Panels::Bf16((0..padded_k * across).into_par_iter().map(row).collect())
        };
        DenseWeights { k: tiles.rows(), n: tiles.cols(), panels }
    }

    /// Takes the matrix whose element [k, n] is `value(k, n)`, as [`Self::from_tiled`] makes it of its tiles of `format`. Calls `part_done`
    /// from time to time, so that what was read can be let go.
    pub fn from_fn(
        format: Format,
        k: usize,
        n: usize,
        value: impl Fn(usize, usize) -> f32 + Sync,
        part_done: impl Fn(),
    ) -> Self {
        let padded_k = k.next_multiple_of(TILE);
        let row = |i: usize| -> [f32; TILE] {
            let (panel, k_of_row) = (i / padded_k, i % padded_k);
            std::array::from_fn(|c| {
                let column = panel * TILE + c;
                if k_of_row < k && column < n { value(k_of_row, column) } else { 0.0 }
            })
        };
        let (rows, part) = (padded_k * n.div_ceil(TILE), padded_k * PART);
        // The host rounds to bf16; f32 it leaves to the unpacker, which truncates.
        let narrow = |v: f32| if format == Format::F32 { (v.to_bits() >> 16) as u16 } else { bf16_host(v).to_bits() };
        let panels = match format.code_bits() {
            Some(_) => Panels::Block(in_parts(rows, part, |i| packed_row(format, &row(i)), part_done)),
            None => Panels::Bf16(in_parts(rows, part, |i| row(i).map(narrow), part_done)),
        };
        DenseWeights { k, n, panels }
    }

    /// Rows (input features).
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns (output features).
    pub fn n(&self) -> usize {
        self.n
    }

    /// Bytes held in memory.
    pub fn bytes(&self) -> usize {
        match &self.panels {
            Panels::Bf16(rows) => size_of_val(rows.as_slice()),
            Panels::Block(rows) => size_of_val(rows.as_slice()),
        }
    }

    /// out[r, c] = sum over k of x[r, k] * w[k, c]: x is [m, k], out [m, n], both row-major.
    ///
    /// Runs on the calling thread's rayon pool, over columns; allocates nothing.
    ///
    /// # Errors
    /// [`NumericsError::Length`] if a buffer has another shape.
    pub fn matmul(&self, m: usize, x: &[bf16], out: &mut [f32]) -> Result<(), NumericsError> {
        check_len("bf16 activation", x.len(), m * self.k)?;
        check_len("f32 output", out.len(), m * self.n)?;
        let target = Columns { out: out.as_mut_ptr(), n: self.n };
        let padded_k = self.k.next_multiple_of(TILE);
        let isa = Isa::best();
        (0..self.n.div_ceil(TILE)).into_par_iter().with_min_len(4).for_each(|panel| {
            for first in (0..m).step_by(ROWS) {
                let rows = ROWS.min(m - first);
                let x = &x[first * self.k..(first + rows) * self.k];
                let range = panel * padded_k..panel * padded_k + self.k;
                let mut sums = [[0f32; TILE]; ROWS];
                match &self.panels {
                    Panels::Bf16(w) => isa.bf16(&w[range], x, rows, &mut sums),
                    Panels::Block(w) => isa.block(&w[range], x, rows, &mut sums),
                }
                for (r, sums) in sums.iter().enumerate().take(rows) {
                    // SAFETY: `first + r` is a row of the output, and no other task writes the columns of this panel.
                    unsafe { target.write(first + r, panel * TILE, sums) }
                }
            }
        });
        Ok(())
    }
}

/// Panels between two calls of `part_done`.
const PART: usize = 64;

fn in_parts<T: Send>(len: usize, part: usize, row: impl Fn(usize) -> T + Sync, part_done: impl Fn()) -> Vec<T> {
    let mut all = Vec::with_capacity(len);
    in_large_pages(&mut all);
    for first in (0..len).step_by(part.max(1)) {
        all.par_extend((first..len.min(first + part)).into_par_iter().map(&row));
        part_done();
    }
    all
}

/// A row of 32 numbers in a block format.
fn packed_row(format: Format, row: &[f32; TILE]) -> BlockRow {
    let mut out = BlockRow::default();
    for (half, group) in row.as_chunks::<GROUP>().0.iter().enumerate() {
        let bits = if format == Format::Bfp8 { 8 } else { 4 };
        let (exponent, codes) = pack_group(group, bits);
        let wide = |code| if format == Format::Bfp4 { widen_code(code) } else { code };
        out.set(half, exponent, codes.map(wide));
    }
    out
}

fn block_row(format: Format, row: usize, tile: &[u8]) -> BlockRow {
    let mut out = BlockRow::default();
    for half in 0..2 {
        let group = face_row(row, half);
        out.set(half, tile[group], group_codes(format, group, tile));
    }
    out
}

/// The output, written by panels: tasks share it and touch disjoint columns.
struct Columns {
    out: *mut f32,
    n: usize,
}

// SAFETY: a shared `Columns` only writes, through `write`, whose callers promise that no two tasks write the same columns; the
// output is borrowed for as long as the tasks run.
unsafe impl Sync for Columns {}

impl Columns {
    /// Writes columns `first ..` of row r, those below n.
    ///
    /// # Safety
    /// Row r exists, and no one else touches these columns.
    unsafe fn write(&self, r: usize, first: usize, sums: &[f32; TILE]) {
        let count = TILE.min(self.n - first);
        // SAFETY: the caller promises that row r exists, and `first + count <= n`: the elements lie in the output, which nothing
        // else touches there.
        unsafe { self.out.add(r * self.n + first).copy_from_nonoverlapping(sums.as_ptr(), count) }
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::matmul::{MatmulConfig, matmul};
    use crate::mvmul::{Arch, Fidelity};
    use crate::operands::SrcB;
    use crate::rounding::widen;
    use crate::spill::Spill;
    use crate::tiled::Tiled;

    fn data(m: usize, k: usize, n: usize) -> (Vec<bf16>, Vec<f32>) {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let x = (0..m * k).map(|_| bf16_host(rng.random_range(-2f32..2.0))).collect();
        let w = (0..k * n).map(|_| rng.random_range(-0.1f32..0.1)).collect();
        (x, w)
    }

    #[test]
    fn weights_come_the_same_with_and_without_tiles() {
        let (k, n) = (40, 75);
        let value = |k: usize, n: usize| if k == n { 1e-39 } else { ((k * 37 + n * 11) % 101) as f32 * 0.173 - 7.0 };
        for format in [Format::F32, Format::Bf16, Format::Bfp8, Format::Bfp4] {
            let tiles = Tiled::pack_with(format, k, n, value);
            let (tiled, direct) =
                (DenseWeights::from_tiled(tiles.view()), DenseWeights::from_fn(format, k, n, value, || {}));
            assert_eq!((tiled.k, tiled.n), (direct.k, direct.n));
            assert!(tiled.panels == direct.panels, "{format:?}");
        }
    }

    #[test]
    fn it_is_the_f32_sum_in_order_on_every_instruction_set() {
        let (m, k, n) = (ROWS, 96, 75);
        let (x, w) = data(m, k, n);
        for format in [Format::Bf16, Format::Bfp8, Format::Bfp4] {
            let tiles = Tiled::pack(format, k, n, &w).unwrap();
            let values = tiles.to_f32();
            let dense = DenseWeights::from_tiled(tiles.view());
            let mut out = vec![f32::NAN; m * n];
            dense.matmul(m, &x, &mut out).unwrap();
            for (i, &o) in out.iter().enumerate() {
                let (r, c) = (i / n, i % n);
                let want = (0..k).fold(0f32, |s, j| s + widen(x[r * k + j]) * values[j * n + c]);
                assert_eq!(o, want, "{format:?} [{r}, {c}]");
            }
            for isa in Isa::available() {
                for rows in 1..=m {
                    let mut sums = [[0f32; TILE]; ROWS];
                    match &dense.panels {
                        Panels::Bf16(w) => isa.bf16(&w[..k], &x[..rows * k], rows, &mut sums),
                        Panels::Block(w) => isa.block(&w[..k], &x[..rows * k], rows, &mut sums),
                    }
                    for r in 0..rows {
                        assert_eq!(sums[r], out[r * n..r * n + TILE], "{isa:?}, {rows} rows");
                    }
                }
            }
        }
    }

    #[test]
    fn it_stays_within_the_stated_bound_of_the_device() {
        let (m, k, n) = (3, 1024, 64);
        let (x, w) = data(m, k, n);
        let tiles = Tiled::pack(Format::Bfp8, k, n, &w).unwrap();
        let mut in0 = SrcB::new();
        in0.load_bf16(m, k, &x).unwrap();
        let config = MatmulConfig {
            arch: Arch::Wormhole,
            fidelity: Fidelity::HiFi4,
            fp32_dest: true,
            spill: Spill::Reload,
            in0_block_w: 4,
            out_format: Format::F32,
        };
        let device = matmul(&in0, tiles.view(), &config).unwrap().to_f32();
        let mut out = vec![0f32; m * n];
        DenseWeights::from_tiled(tiles.view()).matmul(m, &x, &mut out).unwrap();
        let values = tiles.to_f32();
        for (i, (a, b)) in out.iter().zip(&device).enumerate() {
            let (r, c) = (i / n, i % n);
            let mass: f32 = (0..k).map(|j| (widen(x[r * k + j]) * values[j * n + c]).abs()).sum();
            assert!((a - b).abs() <= mass / 1024.0, "{a} and {b} of {mass}");
        }
    }

    #[test]
    fn wrong_lengths_are_refused() {
        let dense = DenseWeights::from_tiled(Tiled::zeros(Format::Bfp8, 64, 40).view());
        assert!(dense.matmul(1, &[bf16::ZERO; 64], &mut [0.0; 41]).is_err());
        assert!(dense.matmul(1, &[bf16::ZERO; 65], &mut [0.0; 40]).is_err());
    }
}
