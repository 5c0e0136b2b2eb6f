//! The dense kernels: one panel of 32 columns by up to [`ROWS`] rows.

use half::bf16;

use crate::format::{GROUP, TILE};
use crate::rounding::widen;
use crate::simd::prefetch;

/// Rows of activations that share one pass over a panel.
pub(super) const ROWS: usize = 8;

/// 32 weights of one k in a block format: two's-complement codes and the exponents of their two groups.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[repr(C)]
pub(super) struct BlockRow {
    pub codes: [[i8; GROUP]; 2],
    pub exponents: [u8; 2],
}

impl BlockRow {
    /// Sets a group from its sign-magnitude codes of 8 bits.
    pub fn set(&mut self, half: usize, exponent: u8, codes: [u8; GROUP]) {
        self.exponents[half] = exponent;
        self.codes[half] = codes.map(|code| {
            let magnitude = (code & 127) as i8;
            if code > 127 { -magnitude } else { magnitude }
        });
    }

    /// The value of one step of a code in group `half`: 2^(exponent - 133). Where that underflows the group is zero.
    #[inline(always)]
    fn unit(&self, half: usize) -> f32 {
        f32::from_bits(u32::from(self.exponents[half].saturating_sub(6)) << 23)
    }
}

/// Instruction set of the dense path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Isa {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Isa {
    /// Every instruction set this machine has, best first.
    pub fn available() -> Vec<Isa> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                all.push(Isa::Avx512);
            }
            if is_x86_feature_detected!("avx2") {
                all.push(Isa::Avx2);
            }
        }
        all.push(Isa::Portable);
        all
    }

    /// The best of [`Self::available`].
    pub fn best() -> Isa {
        static BEST: std::sync::LazyLock<Isa> =
            std::sync::LazyLock::new(|| Isa::available().first().copied().unwrap_or(Isa::Portable));
        *BEST
    }

    /// `sums[r] = x[r] * w` for r < rows; x is [rows, w.len()], row-major.
    pub fn bf16(self, w: &[[u16; TILE]], x: &[bf16], rows: usize, sums: &mut [[f32; TILE]; ROWS]) {
        assert_eq!(x.len(), rows * w.len());
        match self {
            // SAFETY: the variants exist only where `available` detected their features.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { avx512::bf16(w, x, rows, sums) },
            // SAFETY: the variants exist only where `available` detected their features.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { bf16_avx2(w, x, rows, sums) },
            Isa::Portable => panel(w, x, rows, sums, widen_bf16),
        }
    }

    /// `sums[r] = x[r] * w` for r < rows; x is [rows, w.len()], row-major.
    pub fn block(self, w: &[BlockRow], x: &[bf16], rows: usize, sums: &mut [[f32; TILE]; ROWS]) {
        assert_eq!(x.len(), rows * w.len());
        match self {
            // SAFETY: the variants exist only where `available` detected their features.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { avx512::block(w, x, rows, sums) },
            // SAFETY: the variants exist only where `available` detected their features.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { block_avx2(w, x, rows, sums) },
            Isa::Portable => panel(w, x, rows, sums, widen_block),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn bf16_avx2(w: &[[u16; TILE]], x: &[bf16], rows: usize, sums: &mut [[f32; TILE]; ROWS]) {
    panel(w, x, rows, sums, widen_bf16);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn block_avx2(w: &[BlockRow], x: &[bf16], rows: usize, sums: &mut [[f32; TILE]; ROWS]) {
    panel(w, x, rows, sums, widen_block);
}

#[inline(always)]
fn widen_bf16(row: &[u16; TILE]) -> [f32; TILE] {
    row.map(|h| f32::from_bits(u32::from(h) << 16))
}

#[inline(always)]
fn widen_block(row: &BlockRow) -> [f32; TILE] {
    let mut out = [0f32; TILE];
    for half in 0..2 {
        for i in 0..GROUP {
            out[half * GROUP + i] = f32::from(row.codes[half][i]) * row.unit(half);
        }
    }
    out
}

#[inline(always)]
fn panel<W>(w: &[W], x: &[bf16], rows: usize, sums: &mut [[f32; TILE]; ROWS], wide: impl Fn(&W) -> [f32; TILE]) {
    *sums = [[0.0; TILE]; ROWS];
    for (i, row) in w.iter().enumerate() {
        let row = wide(row);
        for (r, sums) in sums.iter_mut().enumerate().take(rows) {
            let x = widen(x[r * w.len() + i]);
            for (s, &w) in sums.iter_mut().zip(&row) {
                *s += w * x;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::*;

    #[target_feature(enable = "avx512f")]
    pub(super) fn bf16(w: &[[u16; TILE]], x: &[half::bf16], rows: usize, sums: &mut [[f32; TILE]; ROWS]) {
        let wide = |row: &[u16; TILE]| {
            // SAFETY: a row of 32 numbers of 2 bytes is two vectors of 32 bytes; the loads need no alignment.
            let halves =
                unsafe { [_mm256_loadu_si256(row.as_ptr().cast()), _mm256_loadu_si256(row.as_ptr().add(16).cast())] };
            halves.map(|h| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(h))))
        };
        by_rows(w, x, rows, sums, wide);
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn block(w: &[BlockRow], x: &[half::bf16], rows: usize, sums: &mut [[f32; TILE]; ROWS]) {
        let wide = |row: &BlockRow| {
            let part = |half: usize| {
                // SAFETY: a group's codes are 16 bytes; the load needs no alignment.
                let codes = unsafe { _mm_loadu_si128(row.codes[half].as_ptr().cast()) };
                let codes = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes));
                _mm512_mul_ps(codes, _mm512_set1_ps(row.unit(half)))
            };
            [part(0), part(1)]
        };
        by_rows(w, x, rows, sums, wide);
    }

    /// Missing rows of a pass repeat the last one.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn by_rows<W>(
        w: &[W],
        x: &[half::bf16],
        rows: usize,
        sums: &mut [[f32; TILE]; ROWS],
        wide: impl Fn(&W) -> [__m512; 2],
    ) {
        match rows {
            1 => pass::<W, 1>(w, x, rows, sums, wide),
            2 => pass::<W, 2>(w, x, rows, sums, wide),
            3 | 4 => pass::<W, 4>(w, x, rows, sums, wide),
            _ => pass::<W, ROWS>(w, x, rows, sums, wide),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn pass<W, const R: usize>(
        w: &[W],
        x: &[half::bf16],
        rows: usize,
        sums: &mut [[f32; TILE]; ROWS],
        wide: impl Fn(&W) -> [__m512; 2],
    ) {
        let k = w.len();
        let x: [&[half::bf16]; R] = std::array::from_fn(|r| &x[r.min(rows - 1) * k..][..k]);
        let mut acc = [[_mm512_setzero_ps(); 2]; R];
        for (i, row) in w.iter().enumerate() {
            prefetch(row);
            let row = wide(row);
            for (a, x) in acc.iter_mut().zip(&x) {
                let x = _mm512_set1_ps(widen(x[i]));
                a[0] = _mm512_fmadd_ps(row[0], x, a[0]);
                a[1] = _mm512_fmadd_ps(row[1], x, a[1]);
            }
        }
        for (s, a) in sums.iter_mut().zip(&acc) {
            // SAFETY: a row of sums is two vectors of 16; the stores need no alignment.
            unsafe {
                _mm512_storeu_ps(s.as_mut_ptr(), a[0]);
                _mm512_storeu_ps(s.as_mut_ptr().add(16), a[1]);
            }
        }
    }
}
