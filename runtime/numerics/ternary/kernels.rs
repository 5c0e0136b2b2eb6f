//! The integer kernels: one panel of 32 columns by all rows.

use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
use super::amx;
use crate::format::TILE;
use crate::simd::prefetch;

/// k of one step of a panel.
pub(super) const STEP: usize = 16;
/// Lines of one step: 16 columns each.
pub(super) const LINES: usize = TILE / 16;

/// 256 two-bit codes: 16 columns by 16 k.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Line(pub [u8; 64]);

impl Default for Line {
    fn default() -> Self {
        Line([0; 64])
    }
}

/// Instruction set of the integer path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kernel {
    #[cfg(target_arch = "x86_64")]
    Amx,
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Kernel {
    /// Every kernel this machine can run, best first.
    pub fn available() -> Vec<Kernel> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if amx::available() {
                all.push(Kernel::Amx);
            }
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
                all.push(Kernel::Avx512Vnni);
            }
            if is_x86_feature_detected!("avx2") {
                all.push(Kernel::Avx2);
            }
        }
        all.push(Kernel::Portable);
        all
    }

    /// The best of [`Self::available`] for `m` rows.
    pub fn best(m: usize) -> Kernel {
        static AVAILABLE: std::sync::LazyLock<Vec<Kernel>> = std::sync::LazyLock::new(Kernel::available);
        AVAILABLE.iter().copied().find(|kernel| kernel.is_worth_it(m)).unwrap_or(Kernel::Portable)
    }

    /// False where `m` rows are too few for what it does once for all of them.
    fn is_worth_it(self, m: usize) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Kernel::Amx => m > 2,
            _ => m > 0,
        }
    }

    /// How many of `left` rows it takes at a time.
    fn block(self, left: usize) -> usize {
        let sizes: &[usize] = match self {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512Vnni => &[12, 8, 4, 2],
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => &[2],
            _ => &[],
        };
        sizes.iter().copied().find(|size| *size <= left).unwrap_or(1)
    }

    /// Multiplies all rows of x by one panel and hands each row's 32 sums to `emit(row, sums)`. x has been packed by [`pack`] for this
    /// kernel; `row_sums[r]` is the sum of its row r.
    ///
    /// # Panics
    /// If `lines` is not k / [`STEP`] * [`LINES`] long or x not as long as its shape says.
    pub fn panel(
        self,
        lines: &[Line],
        x: &[i8],
        k: usize,
        row_sums: &[i32],
        mut emit: impl FnMut(usize, &[i32; TILE]),
    ) {
        #[cfg(target_arch = "x86_64")]
        if self == Kernel::Amx {
            return amx::panel(lines, x, k, row_sums, emit);
        }
        assert_eq!(lines.len() * STEP, k * LINES);
        assert_eq!(x.len(), k * row_sums.len());
        let mut r = 0;
        while r < row_sums.len() {
            let rows = self.block(row_sums.len() - r);
            let (x, sums) = (&x[r * k..][..rows * k], &row_sums[r..][..rows]);
            let mut take = |rows: &[[i32; TILE]]| {
                for (i, sums) in rows.iter().enumerate() {
                    emit(r + i, sums);
                }
            };
            match self {
                // SAFETY: the variant exists only where `available` detected its features; the
                // assertions above make x and the sums long enough.
                #[cfg(target_arch = "x86_64")]
                Kernel::Avx512Vnni => unsafe {
                    match rows {
                        12 => take(&avx512::rows::<12>(lines, x, sums)),
                        8 => take(&avx512::rows::<8>(lines, x, sums)),
                        4 => take(&avx512::rows::<4>(lines, x, sums)),
                        2 => take(&avx512::rows::<2>(lines, x, sums)),
                        _ => take(&[avx512::row(lines, x, sums[0])]),
                    }
                },
                // SAFETY: the variant exists only where `available` detected its feature; the assertions above
                // make x and the sums long enough.
                #[cfg(target_arch = "x86_64")]
                Kernel::Avx2 => unsafe {
                    match rows {
                        2 => take(&avx2::rows::<2>(lines, x, sums)),
                        _ => take(&avx2::rows::<1>(lines, x, sums)),
                    }
                },
                _ => take(&[portable(lines, x, sums[0])]),
            }
            r += rows;
        }
    }
}

/// Rearranges the rows of x, [m, k], for `kernel`: each block of rows that it takes at a time becomes [k / 4, rows, 4], so that a step
/// reads what it needs in one piece. A row alone stays as it is.
pub(super) fn pack<'a>(kernel: Kernel, m: usize, k: usize, x: &'a [i8], out: &'a mut Vec<i8>) -> &'a [i8] {
    #[cfg(target_arch = "x86_64")]
    if kernel == Kernel::Amx {
        return amx::pack(m, k, x, out);
    }
    if m == 1 {
        return x;
    }
    out.resize(m * k, 0);
    let (mut r, mut rest) = (0, out.as_mut_slice());
    let mut blocks = Vec::new();
    while r < m {
        let rows = kernel.block(m - r);
        let (block, tail) = rest.split_at_mut(rows * k);
        blocks.push((&x[r * k..][..rows * k], block, rows));
        (r, rest) = (r + rows, tail);
    }
    blocks.into_par_iter().for_each(|(x, block, rows)| {
        let x = x.as_chunks::<4>().0;
        for (i, step) in block.as_chunks_mut::<4>().0.chunks_exact_mut(rows).enumerate() {
            for (r, four) in step.iter_mut().enumerate() {
                *four = x[r * (k / 4) + i];
            }
        }
    });
    out
}

fn portable(lines: &[Line], x: &[i8], row_sum: i32) -> [i32; TILE] {
    let mut sums = [-row_sum; TILE];
    for (step, x) in lines.as_chunks::<LINES>().0.iter().zip(x.as_chunks::<STEP>().0) {
        for (line, sums) in step.iter().zip(sums.as_chunks_mut::<16>().0) {
            for (codes, sum) in line.0.as_chunks::<4>().0.iter().zip(sums) {
                for i in 0..4 {
                    for j in 0..4 {
                        *sum += i32::from(codes[j] >> (2 * i) & 3) * i32::from(x[4 * i + j]);
                    }
                }
            }
        }
    }
    sums
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::*;

    /// Four activations of consecutive k in every lane.
    ///
    /// # Safety
    /// x has 4 values from `at` on.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    unsafe fn spread(x: &[i8], at: usize) -> __m512i {
        // SAFETY: the caller promises 4 bytes from `at` on; they are read as one number without need of alignment.
        _mm512_set1_epi32(unsafe { x.as_ptr().add(at).cast::<i32>().read_unaligned() })
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn load(line: &Line) -> __m512i {
        // SAFETY: a line is 64 bytes, aligned to 64.
        unsafe { _mm512_load_si512(line.0.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn store(acc: [__m512i; LINES]) -> [i32; TILE] {
        let mut out = [0i32; TILE];
        // SAFETY: `out` is two halves of 16 sums; the stores need no alignment.
        unsafe {
            _mm512_storeu_si512(out.as_mut_ptr().cast(), acc[0]);
            _mm512_storeu_si512(out.as_mut_ptr().add(16).cast(), acc[1]);
        }
        out
    }

    /// One row. The codes stay where they are in their bytes: masked, not shifted, each of the four fields
    /// counts 4^i times into an accumulator of its own. That saves the shifts and gives the dot products
    /// eight independent chains.
    ///
    /// # Safety
    /// x has as many values as `lines` has k.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) unsafe fn row(lines: &[Line], x: &[i8], row_sum: i32) -> [i32; TILE] {
        let mut acc = [[_mm512_setzero_si512(); 4]; LINES];
        let masks = [3, 12, 48, 192].map(|m: u8| _mm512_set1_epi8(m as i8));
        for (step, pair) in lines.as_chunks::<LINES>().0.iter().enumerate() {
            pair.iter().for_each(prefetch);
            let codes = [load(&pair[0]), load(&pair[1])];
            for i in 0..4 {
                // SAFETY: the caller promises k values in x, and `step * 16 + 4 * i + 4 <= k`.
                let b = unsafe { spread(x, step * STEP + 4 * i) };
                for l in 0..LINES {
                    let c = _mm512_and_si512(codes[l], masks[i]);
                    acc[l][i] = _mm512_dpbusd_epi32(acc[l][i], c, b);
                }
            }
        }
        let start = _mm512_set1_epi32(-row_sum);
        store(acc.map(|a| {
            let low = _mm512_add_epi32(a[0], _mm512_srai_epi32::<2>(a[1]));
            let high = _mm512_add_epi32(_mm512_srai_epi32::<4>(a[2]), _mm512_srai_epi32::<6>(a[3]));
            _mm512_add_epi32(start, _mm512_add_epi32(low, high))
        }))
    }

    /// R rows: a line is unpacked once for all of them.
    ///
    /// # Safety
    /// x has R packed rows of as many values as `lines` has k.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) unsafe fn rows<const R: usize>(lines: &[Line], x: &[i8], row_sums: &[i32]) -> [[i32; TILE]; R] {
        let mut acc = [[_mm512_setzero_si512(); LINES]; R];
        for (a, &s) in acc.iter_mut().zip(row_sums) {
            *a = [_mm512_set1_epi32(-s); LINES];
        }
        let mask = _mm512_set1_epi8(3);
        for (step, pair) in lines.as_chunks::<LINES>().0.iter().enumerate() {
            pair.iter().for_each(prefetch);
            let mut codes = [load(&pair[0]), load(&pair[1])];
            for i in 0..4 {
                let c = codes.map(|c| _mm512_and_si512(c, mask));
                for (r, a) in acc.iter_mut().enumerate() {
                    // SAFETY: the caller promises R packed rows of k values in x; `r < R` and `step * 16 + 4 * i + 4 <= k`.
                    let b = unsafe { spread(x, (step * STEP + 4 * i) * R + 4 * r) };
                    a[0] = _mm512_dpbusd_epi32(a[0], c[0], b);
                    a[1] = _mm512_dpbusd_epi32(a[1], c[1], b);
                }
                codes = codes.map(|c| _mm512_srli_epi32::<2>(c));
            }
        }
        acc.map(|a| store(a))
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::*;

    /// Vectors of 8 columns in a panel.
    const PARTS: usize = TILE / 8;

    /// R rows. Pairs of products stay within 16 bits: 4 fields of 2 products of at most 2 * 128 are 2048.
    ///
    /// # Safety
    /// x has R packed rows of as many values as `lines` has k.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn rows<const R: usize>(lines: &[Line], x: &[i8], row_sums: &[i32]) -> [[i32; TILE]; R] {
        let mut acc = [[_mm256_setzero_si256(); PARTS]; R];
        for (a, &s) in acc.iter_mut().zip(row_sums) {
            *a = [_mm256_set1_epi32(-s); PARTS];
        }
        let (mask, ones) = (_mm256_set1_epi8(3), _mm256_set1_epi16(1));
        for (step, pair) in lines.as_chunks::<LINES>().0.iter().enumerate() {
            pair.iter().for_each(prefetch);
            for part in 0..PARTS {
                // SAFETY: a line is two vectors of 32 bytes, aligned to 64.
                let mut codes = unsafe { _mm256_load_si256(pair[part / 2].0.as_ptr().add(part % 2 * 32).cast()) };
                let mut sums = [_mm256_setzero_si256(); R];
                for i in 0..4 {
                    let c = _mm256_and_si256(codes, mask);
                    for (r, s) in sums.iter_mut().enumerate() {
                        let at = (step * STEP + 4 * i) * R + 4 * r;
                        // SAFETY: the caller promises R packed rows of k values in x; `r < R` and
                        // `step * 16 + 4 * i + 4 <= k`.
                        let four = unsafe { x.as_ptr().add(at).cast::<i32>().read_unaligned() };
                        let pairs = _mm256_maddubs_epi16(c, _mm256_set1_epi32(four));
                        *s = _mm256_add_epi16(*s, pairs);
                    }
                    codes = _mm256_srli_epi16::<2>(codes);
                }
                for (a, s) in acc.iter_mut().zip(sums) {
                    a[part] = _mm256_add_epi32(a[part], _mm256_madd_epi16(s, ones));
                }
            }
        }
        acc.map(|a| {
            let mut out = [0i32; TILE];
            for (part, v) in a.into_iter().enumerate() {
                // SAFETY: `part < 4`, so the 8 sums lie within the 32 of `out`; the store needs no alignment.
                unsafe { _mm256_storeu_si256(out.as_mut_ptr().add(part * 8).cast(), v) }
            }
            out
        })
    }
}
