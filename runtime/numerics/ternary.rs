//! The integer path: int8 activations by ternary weights, proved exact.
//!
//! **What it equals.** On the device, a LoFi matmul with fp32 Dst and fp32 spills whose in0 holds integers
//! -128..=127 as bf16 and whose in1 holds {-u, 0, +u}, u a power of two, is lossless: 7 bits of SrcB carry
//! every int8 (-128 has one significant bit), 5 bits of SrcA carry u; in a group of 8 exponents differ by
//! at most 7, and products have 10 fraction bits, so aligning drops nothing; sums stay below 2^23 units
//! for K <= [`MAX_K`], so neither does Dst. Higher fidelities add zeros. So its Dst is the integer sum, which
//! is what is computed here; a property test holds this against the emulated matmul.
//!
//! **Layout.** Weights are 2-bit codes, weight + 1. A panel is 32 columns; a step of a panel is 16 k in two
//! 64-byte lines of 16 columns. Byte `4 n + j` of a line holds, in bits `2 i .. 2 i + 2`, the code of column n,
//! k = 4 i + j: shifting a line by 2 i and masking leaves four consecutive k of 16 columns, the operand order
//! of the dot-product instructions. Columns beyond n are zeros. Since sum x w = sum x (w + 1) - sum x, codes
//! serve as unsigned operands, and the sums of activations start the accumulators.

#[cfg(target_arch = "x86_64")]
mod amx;
mod kernels;

use half::bf16;
use rayon::prelude::*;

use crate::error::{NumericsError, check_dim, check_len, check_multiple};
use crate::format::TILE;
use crate::memory::in_large_pages;
use crate::rounding::widen;
use crate::simd::{Loop, vectorised};
use crate::tiled::TiledView;
use kernels::{Kernel, LINES, Line, STEP};

/// Largest K for which every partial sum of int8 by ternary stays below 2^23.
pub const MAX_K: usize = 65_535;

/// A ternary matrix [k, n] at 2 bits a weight.
#[derive(Debug, Clone)]
pub struct TernaryWeights {
    k: usize,
    n: usize,
    unit: f32,
    lines: Vec<Line>,
}

/// Buffer that [`TernaryWeights::matmul`] reuses. It grows to the largest row count seen.
#[derive(Debug, Clone, Default)]
pub struct TernaryScratch {
    row_sums: Vec<i32>,
    packed: Vec<i8>,
}

impl TernaryWeights {
    /// Takes tiles whose values are -u, 0 and +u, u a power of two.
    ///
    /// # Errors
    /// [`NumericsError::NotTernary`] names the first other value of some column panel;
    /// [`NumericsError::Multiple`] and [`NumericsError::Dimension`] as for [`Self::from_fn`].
    pub fn from_tiled(tiles: TiledView<'_>) -> Result<Self, NumericsError> {
        let (down, across) = tiles.tiles();
        let row = |k: usize, p: usize| tiles.row_of_tile(k, p).map(f32::from_bits);
        let unit = (0..across)
            .flat_map(|p| (0..down * TILE).map(move |k| (k, p)))
            .find_map(|(k, p)| row(k, p).into_iter().find(|v| *v != 0.0))
            .map_or(1.0, f32::abs);
        Self::from_rows(tiles.rows(), tiles.cols(), unit, row)
    }

    /// Takes the matrix whose element [k, n] is `weight(k, n)`, one of -1, 0 and 1.
    ///
    /// # Errors
    /// [`NumericsError::NotTernary`] for another value, [`NumericsError::Multiple`] if 32 does not divide k,
    /// [`NumericsError::Dimension`] if k exceeds [`MAX_K`].
    pub fn from_fn(k: usize, n: usize, weight: impl Fn(usize, usize) -> i8 + Sync) -> Result<Self, NumericsError> {
        Self::from_rows(k, n, 1.0, |row, panel| {
            let mut out = [0f32; TILE];
            for (o, col) in out.iter_mut().zip(panel * TILE..n) {
                *o = f32::from(weight(row, col));
            }
            out
        })
    }

    /// Takes the matrix column after column: `values` is [n, k], each -1, 0 or 1.
    ///
    /// # Errors
    /// Those of [`Self::from_fn`], and [`NumericsError::Length`] if `values` is not `n * k` long.
    pub fn from_columns(k: usize, n: usize, values: &[i8]) -> Result<Self, NumericsError> {
        check_len("ternary columns", values.len(), n * k)?;
        check_k(k)?;
        let mut lines = blank(k, n);
        lines.par_chunks_mut(k / STEP * LINES).enumerate().try_for_each(|(panel, lines)| {
            for c in 0..TILE {
                let n = panel * TILE + c;
                // Columns beyond the last hold zeros, whose code is 1.
                let column = values.get(n * k..(n + 1) * k);
                for step in 0..k / STEP {
                    let codes = column.map_or([1; STEP], |column| {
                        std::array::from_fn(|i| column[step * STEP + i].wrapping_add(1) as u8)
                    });
                    if let Some(i) = codes.iter().position(|code| *code > 2) {
                        let (k, value) = (step * STEP + i, i32::from(codes[i] as i8) - 1);
                        return Err(NumericsError::NotTernary { k, n, value: value.to_string(), unit: "1".into() });
                    }
                    let fields = codes.as_chunks::<4>().0.iter().zip([0, 2, 4, 6]);
                    let word = fields.fold(0, |word, (four, shift)| word | u32::from_le_bytes(*four) << shift);
                    let (line, byte, _) = position(step * STEP, c);
                    lines[line].0[byte..byte + 4].copy_from_slice(&word.to_le_bytes());
                }
            }
            Ok(())
        })?;
        Ok(TernaryWeights { k, n, unit: 1.0, lines })
    }

    fn from_rows(
        k: usize,
        n: usize,
        unit: f32,
        row: impl Fn(usize, usize) -> [f32; TILE] + Sync,
    ) -> Result<Self, NumericsError> {
        check_k(k)?;
        let power_of_two = unit.is_normal() && unit.to_bits() & 0x7f_ffff == 0;
        let refuse = |k, n, value: f32| NumericsError::NotTernary {
            k,
            n,
            value: value.to_string(),
            unit: if power_of_two { unit.to_string() } else { "a power of two".into() },
        };
        let mut lines = blank(k, n);
        lines.par_chunks_mut(k / STEP * LINES).enumerate().try_for_each(|(panel, lines)| {
            for kk in 0..k {
                for (c, v) in row(kk, panel).into_iter().enumerate() {
                    let code = match v {
                        0.0 => 1,
                        v if power_of_two && v == unit => 2,
                        v if power_of_two && v == -unit => 0,
                        v => return Err(refuse(kk, panel * TILE + c, v)),
                    };
                    let (line, byte, shift) = position(kk, c);
                    lines[line].0[byte] |= code << shift;
                }
            }
            Ok(())
        })?;
        Ok(TernaryWeights { k, n, unit, lines })
    }

    /// Rows (input features).
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns (output features).
    pub fn n(&self) -> usize {
        self.n
    }

    /// Magnitude of the nonzero weights; a sum counts in this unit.
    pub fn unit(&self) -> f32 {
        self.unit
    }

    /// Bytes held in memory.
    pub fn bytes(&self) -> usize {
        std::mem::size_of_val(self.lines.as_slice())
    }

    /// The weight at [k, n] in units.
    ///
    /// # Panics
    /// If the position lies outside the matrix.
    pub fn weight(&self, k: usize, n: usize) -> i8 {
        assert!(k < self.k && n < self.n, "[{k}, {n}] lies outside [{}, {}]", self.k, self.n);
        let (line, byte, shift) = position(k, n % TILE);
        let line = n / TILE * (self.k / STEP * LINES) + line;
        (self.lines[line].0[byte] >> shift & 3) as i8 - 1
    }

    /// out[r, c] = sum over k of x[r, k] * w[k, c]: x is [m, k], out [m, n], both row-major. i32 results count in units; f32 results
    /// are what the packer writes from an fp32 Dst.
    ///
    /// Runs on the calling thread's rayon pool, over columns. Allocates nothing once `scratch` has grown to m.
    ///
    /// # Errors
    /// [`NumericsError::Length`] if a buffer has another shape.
    pub fn matmul<O: Sum>(
        &self,
        m: usize,
        x: &[i8],
        out: &mut [O],
        scratch: &mut TernaryScratch,
    ) -> Result<(), NumericsError> {
        self.matmul_on(Kernel::best(m), m, x, out, scratch)
    }

    fn matmul_on<O: Sum>(
        &self,
        kernel: Kernel,
        m: usize,
        x: &[i8],
        out: &mut [O],
        scratch: &mut TernaryScratch,
    ) -> Result<(), NumericsError> {
        check_len("int8 activation", x.len(), m * self.k)?;
        check_len("output of integer sums", out.len(), m * self.n)?;
        x.par_chunks_exact(self.k).with_min_len(8).map(row_sum).collect_into_vec(&mut scratch.row_sums);
        let x = kernels::pack(kernel, m, self.k, x, &mut scratch.packed);
        let sums = &scratch.row_sums;
        let target = Columns { out: out.as_mut_ptr(), n: self.n, unit: self.unit };
        // A task of about 64 KB of weights is long beside the cost of handing it out.
        let per_panel = self.k / STEP * LINES;
        let min_panels = if m < 8 { 1024usize.div_ceil(per_panel) } else { 1 };
        self.lines.par_chunks_exact(per_panel).with_min_len(min_panels).enumerate().for_each(|(panel, lines)| {
            kernel.panel(
                lines,
                x,
                self.k,
                sums,
                #[inline(always)]
                |r, sums| {
                    // SAFETY: `r < m`, as `sums` has m rows, and no other task writes the columns of this panel.
                    unsafe { target.write(r, panel * TILE, sums) }
                },
            );
        });
        Ok(())
    }
}

fn check_k(k: usize) -> Result<(), NumericsError> {
    check_multiple("k of a ternary matrix", k, TILE)?;
    let what = "k of an exact integer matmul, at most";
    if k > MAX_K { Err(NumericsError::Dimension { what, got: k, want: MAX_K }) } else { Ok(()) }
}

/// The lines of a [k, n] matrix, not yet written.
fn blank(k: usize, n: usize) -> Vec<Line> {
    let mut lines = vec![Line::default(); n.div_ceil(TILE) * k / STEP * LINES];
    in_large_pages(&mut lines);
    lines
}

/// Line within a panel, byte within the line and bit within the byte of element [k, column of the panel].
fn position(k: usize, col: usize) -> (usize, usize, usize) {
    let in_step = k % STEP;
    (k / STEP * LINES + col / 16, col % 16 * 4 + in_step % 4, in_step / 4 * 2)
}

fn row_sum(row: &[i8]) -> i32 {
    vectorised(RowSum(row))
}

struct RowSum<'a>(&'a [i8]);

impl Loop for RowSum<'_> {
    type Output = i32;

    #[inline(always)]
    fn run(self) -> i32 {
        self.0.iter().map(|&v| i32::from(v)).sum()
    }
}

/// The types that an integer sum may be written as.
pub trait Sum: Copy + Send {
    /// `sum` units.
    fn of(sum: i32, unit: f32) -> Self;
}

impl Sum for i32 {
    #[inline(always)]
    fn of(sum: i32, _unit: f32) -> i32 {
        sum
    }
}

impl Sum for f32 {
    #[inline(always)]
    fn of(sum: i32, unit: f32) -> f32 {
        sum as f32 * unit
    }
}

/// The output, written by panels: tasks share it and touch disjoint columns.
struct Columns<O> {
    out: *mut O,
    n: usize,
    unit: f32,
}

// SAFETY: a shared `Columns` only writes, through `write`, whose callers promise that no two tasks write the same columns; the
// output is borrowed for as long as the tasks run.
unsafe impl<O: Send> Sync for Columns<O> {}

impl<O: Sum> Columns<O> {
    /// Writes columns `first ..` of row r, those below n.
    ///
    /// # Safety
    /// Row r exists, and no one else touches these columns.
    #[inline(always)]
    unsafe fn write(&self, r: usize, first: usize, sums: &[i32; TILE]) {
        let sums = sums.map(|sum| O::of(sum, self.unit));
        // SAFETY: the caller promises that row r exists: its columns `first..n` lie within the m * n elements of the output, and
        // nothing else touches those that are written.
        unsafe {
            let out = self.out.add(r * self.n + first);
            if self.n - first >= TILE {
                out.cast::<[O; TILE]>().write_unaligned(sums);
            } else {
                out.copy_from_nonoverlapping(sums.as_ptr(), self.n - first);
            }
        }
    }
}

/// Converts bf16 activations that hold integers to int8.
///
/// # Errors
/// [`NumericsError::NotInt8`] names the first value that is not an integer from -128 to 127 (`cols` tells rows
/// apart); [`NumericsError::Dimension`] if the slices differ in length.
pub fn int8_from_bf16(x: &[bf16], cols: usize, out: &mut [i8]) -> Result<(), NumericsError> {
    check_dim("int8 activations", out.len(), x.len())?;
    let cols = cols.max(1);
    let part = |(row, (x, out)): (usize, (&[bf16], &mut [i8]))| {
        vectorised(ToInt8 { x, out }).map_err(|(k, value)| NumericsError::NotInt8 { row, k, value: value.to_string() })
    };
    if x.len() <= SHORT {
        x.chunks(cols).zip(out.chunks_mut(cols)).enumerate().try_for_each(part)
    } else {
        x.par_chunks(cols).zip(out.par_chunks_mut(cols)).enumerate().try_for_each(part)
    }
}

/// So few elements are not worth another core.
const SHORT: usize = 1 << 14;

/// Fails with the position and value of the first element that is no int8.
struct ToInt8<'a> {
    x: &'a [bf16],
    out: &'a mut [i8],
}

impl Loop for ToInt8<'_> {
    type Output = Result<(), (usize, f32)>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        let mut exact = true;
        for (o, &h) in self.out.iter_mut().zip(self.x) {
            let v = widen(h);
            let bounded = if v > -129.0 && v < 128.0 { v as i32 } else { 0 };
            *o = bounded as i8;
            exact &= f32::from(*o) == v;
        }
        if exact {
            return Ok(());
        }
        let wrong = self.x.iter().zip(&*self.out).position(|(x, o)| f32::from(*o) != widen(*x)).unwrap_or(0);
        Err((wrong, widen(self.x[wrong])))
    }
}

/// Integer sums as the packer writes them from an fp32 Dst to f32. `unit` is [`TernaryWeights::unit`].
pub fn sums_to_f32(sums: &[i32], unit: f32, out: &mut [f32]) {
    vectorised(Scaled { sums, unit, out });
}

struct Scaled<'a> {
    sums: &'a [i32],
    unit: f32,
    out: &'a mut [f32],
}

impl Loop for Scaled<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (o, &s) in self.out.iter_mut().zip(self.sums) {
            *o = s as f32 * self.unit;
        }
    }
}

#[cfg(test)]
mod tests;
