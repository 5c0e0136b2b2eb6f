//! The two inner loops of attention, for each instruction set, with the same bits on all.
//!
//! A dot product has 16 interleaved partial sums, added as a balanced tree. Products are rounded before they
//! are added: no fused multiply-add. A weighted sum takes its rows in order.

use crate::norm::pairwise;

/// Partial sums of a dot product. Rows given to [`Vectors`] are a multiple of this long.
pub(super) const LANES: usize = 16;

/// An instruction set. `rows` are as long as the other vector, one after another.
pub(super) trait Vectors {
    /// `out[i] = sum a * rows[i]`.
    ///
    /// # Safety
    /// The machine has the instruction set; `a.len()` is a multiple of `LANES`, and `rows` has at least `out.len()` rows of it.
    unsafe fn dots(a: &[f32], rows: &[f32], out: &mut [f32]);

    /// `sums += weights[0] * rows[0]`, then `weights[1] * rows[1]`, and so on.
    ///
    /// # Safety
    /// The machine has the instruction set; `sums.len()` is a multiple of `LANES`, and `rows` has at least `weights.len()` rows
    /// of it.
    unsafe fn add(sums: &mut [f32], weights: &[f32], rows: &[f32]);
}

/// Any machine.
pub(super) struct Portable;

impl Vectors for Portable {
    #[inline(always)]
    unsafe fn dots(a: &[f32], rows: &[f32], out: &mut [f32]) {
        for (out, row) in out.iter_mut().zip(rows.chunks_exact(a.len())) {
            let mut lanes = [0f32; LANES];
            for (a, b) in a.as_chunks::<LANES>().0.iter().zip(row.as_chunks::<LANES>().0) {
                for i in 0..LANES {
                    lanes[i] += a[i] * b[i];
                }
            }
            *out = pairwise(lanes);
        }
    }

    #[inline(always)]
    unsafe fn add(sums: &mut [f32], weights: &[f32], rows: &[f32]) {
        for (weight, row) in weights.iter().zip(rows.chunks_exact(sums.len())) {
            for (s, v) in sums.iter_mut().zip(row) {
                *s += weight * v;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::*;

    /// AVX-512 F, BW and VL.
    pub struct Avx512;

    /// AVX2: the portable loops, compiled for it.
    pub struct Avx2;

    impl Vectors for Avx2 {
        #[inline]
        #[target_feature(enable = "avx2")]
        unsafe fn dots(a: &[f32], rows: &[f32], out: &mut [f32]) {
            // SAFETY: the caller promises what `Portable` asks for, which is the same.
            unsafe { Portable::dots(a, rows, out) }
        }

        #[inline]
        #[target_feature(enable = "avx2")]
        unsafe fn add(sums: &mut [f32], weights: &[f32], rows: &[f32]) {
            // SAFETY: the caller promises what `Portable` asks for, which is the same.
            unsafe { Portable::add(sums, weights, rows) }
        }
    }

    impl Vectors for Avx512 {
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        unsafe fn dots(a: &[f32], rows: &[f32], out: &mut [f32]) {
            let (whole, rest) = out.as_chunks_mut::<LANES>();
            let (first, last) = rows.split_at(whole.len() * LANES * a.len());
            for (out, rows) in whole.iter_mut().zip(first.chunks_exact(LANES * a.len())) {
                // SAFETY: `rows` is a chunk of 16 rows of `a`'s length, and `out` has room for the 16 numbers that are stored.
                unsafe { _mm512_storeu_ps(out.as_mut_ptr(), sixteen(a, rows)) };
            }
            for (out, row) in rest.iter_mut().zip(last.chunks_exact(a.len())) {
                *out = one(a, row);
            }
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        unsafe fn add(sums: &mut [f32], weights: &[f32], rows: &[f32]) {
            let (len, mut at) = (sums.len(), 0);
            while at < len {
                let vectors = (len - at) / LANES;
                // SAFETY: `vectors` vectors are left from `at` on in the sums, and the caller promises as many in each row.
                at += LANES
                    * unsafe {
                        match vectors {
                            8.. => add_tile::<8>(sums, weights, rows, at),
                            4.. => add_tile::<4>(sums, weights, rows, at),
                            2.. => add_tile::<2>(sums, weights, rows, at),
                            _ => add_tile::<1>(sums, weights, rows, at),
                        }
                    };
            }
        }
    }

    /// The 16 numbers from `at` on.
    ///
    /// # Safety
    /// `x` has them: `at + 16 <= x.len()`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load(x: &[f32], at: usize) -> __m512 {
        // SAFETY: the caller promises 16 numbers from `at` on; the load needs no alignment.
        unsafe { _mm512_loadu_ps(x.as_ptr().add(at)) }
    }

    /// Adds to N vectors of the sums from `at` on, which stay in registers; returns N.
    ///
    /// # Safety
    /// The sums have N vectors from `at` on, and so has each of at least `weights.len()` rows of the sums' length.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn add_tile<const N: usize>(sums: &mut [f32], weights: &[f32], rows: &[f32], at: usize) -> usize {
        // SAFETY: the caller promises N vectors of the sums from `at` on.
        let mut acc: [__m512; N] = std::array::from_fn(|i| unsafe { load(sums, at + LANES * i) });
        for (p, weight) in weights.iter().enumerate() {
            let weight = _mm512_set1_ps(*weight);
            for (i, acc) in acc.iter_mut().enumerate() {
                // SAFETY: the caller promises N vectors from `at` on in each row, and a row for each weight.
                let row = unsafe { load(rows, p * sums.len() + at + LANES * i) };
                *acc = _mm512_add_ps(*acc, _mm512_mul_ps(weight, row));
            }
        }
        for (i, acc) in acc.into_iter().enumerate() {
            // SAFETY: the caller promises N vectors of the sums from `at` on; the store needs no alignment.
            unsafe { _mm512_storeu_ps(sums.as_mut_ptr().add(at + LANES * i), acc) };
        }
        N
    }

    /// The dot products of 16 rows.
    ///
    /// # Safety
    /// `a.len()` is a multiple of 16, and `rows` has 16 rows of it.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn sixteen(a: &[f32], rows: &[f32]) -> __m512 {
        let mut acc = [_mm512_setzero_ps(); LANES];
        for at in (0..a.len()).step_by(LANES) {
            // SAFETY: `at + 16 <= a.len()`, because the caller promises a multiple of 16.
            let x = unsafe { load(a, at) };
            for (r, acc) in acc.iter_mut().enumerate() {
                // SAFETY: the caller promises 16 rows of `a`'s length, and `at + 16 <= a.len()`.
                let row = unsafe { load(rows, r * a.len() + at) };
                *acc = _mm512_add_ps(*acc, _mm512_mul_ps(x, row));
            }
        }
        // Each level adds the upper half of a sum's lanes to the lower, of two sums at a time.
        let eights: [__m512; 8] = std::array::from_fn(|i| {
            let (a, b) = (acc[2 * i], acc[2 * i + 1]);
            _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b))
        });
        let fours: [__m512; 4] = std::array::from_fn(|i| {
            let (a, b) = (eights[2 * i], eights[2 * i + 1]);
            _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b))
        });
        let twos: [__m512; 2] = std::array::from_fn(|i| {
            let (a, b) = (fours[2 * i], fours[2 * i + 1]);
            _mm512_add_ps(_mm512_shuffle_ps::<0x44>(a, b), _mm512_shuffle_ps::<0xee>(a, b))
        });
        let sums =
            _mm512_add_ps(_mm512_shuffle_ps::<0x88>(twos[0], twos[1]), _mm512_shuffle_ps::<0xdd>(twos[0], twos[1]));
        // Lane 4 b + j holds the sum of row 4 j + b.
        _mm512_permutexvar_ps(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), sums)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn one(a: &[f32], b: &[f32]) -> f32 {
        let mut acc = _mm512_setzero_ps();
        for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0) {
            // SAFETY: both are arrays of 16 numbers.
            let (a, b) = unsafe { (load(a, 0), load(b, 0)) };
            acc = _mm512_add_ps(acc, _mm512_mul_ps(a, b));
        }
        let mut lanes = [0f32; LANES];
        // SAFETY: `lanes` has room for the 16 numbers; the store needs no alignment.
        unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), acc) };
        pairwise(lanes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        for (len, rows) in [(16, 1), (112, 19), (144, 37), (256, 32)] {
            let number = |i: usize| (i as f32 * 0.77).sin() * 1.7f32.powi(i as i32 % 11);
            let a: Vec<f32> = (0..len).map(number).collect();
            let b: Vec<f32> = (0..len * rows).map(|i| (i as f32 * 1.31).cos()).collect();
            let weights: Vec<f32> = (0..rows).map(|i| 1.0 / (i + 1) as f32).collect();
            // SAFETY: the lengths are multiples of 16, there are as many rows as results and weights, and below an instruction set
            // is used only where it is detected.
            let run = |dots: unsafe fn(&[f32], &[f32], &mut [f32]), add: unsafe fn(&mut [f32], &[f32], &[f32])| unsafe {
                let (mut products, mut sums) = (vec![0f32; rows], a.clone());
                dots(&a, &b, &mut products);
                add(&mut sums, &weights, &b);
                (products, sums)
            };
            let want = run(Portable::dots, Portable::add);
            #[cfg(target_arch = "x86_64")]
            {
                if is_x86_feature_detected!("avx2") {
                    assert_eq!(run(Avx2::dots, Avx2::add), want, "{len} {rows}");
                }
                if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vl") {
                    assert_eq!(run(Avx512::dots, Avx512::add), want, "{len} {rows}");
                }
            }
            assert!(want.0.iter().all(|v| v.is_finite()));
        }
    }
}
