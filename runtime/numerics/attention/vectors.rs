//! The two inner loops of attention, for each instruction set, with the same bits on all.
//!
//! A dot product has 16 interleaved partial sums, added as a balanced tree. Products are rounded before they
//! are added: no fused multiply-add.

use crate::norm::pairwise;

/// Partial sums of a dot product. Slices given to [`Vectors`] are as long as each other and a multiple of this.
pub(super) const LANES: usize = 16;

/// An instruction set.
pub(super) trait Vectors {
    /// sum a * b.
    ///
    /// # Safety
    /// The machine has the instruction set; the slices are equally long.
    unsafe fn dot(a: &[f32], b: &[f32]) -> f32;

    /// sums += weight * row.
    ///
    /// # Safety
    /// The machine has the instruction set; the slices are equally long.
    unsafe fn add(sums: &mut [f32], weight: f32, row: &[f32]);
}

/// Any machine.
pub(super) struct Portable;

impl Vectors for Portable {
    #[inline(always)]
    unsafe fn dot(a: &[f32], b: &[f32]) -> f32 {
        let mut lanes = [0f32; LANES];
        for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0) {
            for i in 0..LANES {
                lanes[i] += a[i] * b[i];
            }
        }
        pairwise(lanes)
    }

    #[inline(always)]
    unsafe fn add(sums: &mut [f32], weight: f32, row: &[f32]) {
        for (s, v) in sums.iter_mut().zip(row) {
            *s += weight * v;
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

    /// AVX2.
    pub struct Avx2;

    impl Vectors for Avx512 {
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        unsafe fn dot(a: &[f32], b: &[f32]) -> f32 {
            let mut acc = _mm512_setzero_ps();
            for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0) {
                // SAFETY: 16 numbers each; the loads need no alignment.
                let (a, b) = unsafe { (_mm512_loadu_ps(a.as_ptr()), _mm512_loadu_ps(b.as_ptr())) };
                acc = _mm512_add_ps(acc, _mm512_mul_ps(a, b));
            }
            let high = _mm512_castpd_ps(_mm512_castsi512_pd(_mm512_shuffle_i64x2::<0b1110>(
                _mm512_castps_si512(acc),
                _mm512_castps_si512(acc),
            )));
            tree(_mm256_add_ps(_mm512_castps512_ps256(acc), _mm512_castps512_ps256(high)))
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        unsafe fn add(sums: &mut [f32], weight: f32, row: &[f32]) {
            let weight = _mm512_set1_ps(weight);
            for (s, v) in sums.as_chunks_mut::<LANES>().0.iter_mut().zip(row.as_chunks::<LANES>().0) {
                // SAFETY: 16 numbers each; the accesses need no alignment.
                unsafe {
                    let product = _mm512_mul_ps(weight, _mm512_loadu_ps(v.as_ptr()));
                    _mm512_storeu_ps(s.as_mut_ptr(), _mm512_add_ps(_mm512_loadu_ps(s.as_ptr()), product));
                }
            }
        }
    }

    impl Vectors for Avx2 {
        #[inline]
        #[target_feature(enable = "avx2")]
        unsafe fn dot(a: &[f32], b: &[f32]) -> f32 {
            let mut acc = [_mm256_setzero_ps(); 2];
            for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0) {
                for half in 0..2 {
                    // SAFETY: 16 numbers each; the loads need no alignment.
                    let (a, b) = unsafe {
                        (_mm256_loadu_ps(a.as_ptr().add(8 * half)), _mm256_loadu_ps(b.as_ptr().add(8 * half)))
                    };
                    acc[half] = _mm256_add_ps(acc[half], _mm256_mul_ps(a, b));
                }
            }
            tree(_mm256_add_ps(acc[0], acc[1]))
        }

        #[inline]
        #[target_feature(enable = "avx2")]
        unsafe fn add(sums: &mut [f32], weight: f32, row: &[f32]) {
            let weight = _mm256_set1_ps(weight);
            for (s, v) in sums.as_chunks_mut::<8>().0.iter_mut().zip(row.as_chunks::<8>().0) {
                // SAFETY: 8 numbers each; the accesses need no alignment.
                unsafe {
                    let product = _mm256_mul_ps(weight, _mm256_loadu_ps(v.as_ptr()));
                    _mm256_storeu_ps(s.as_mut_ptr(), _mm256_add_ps(_mm256_loadu_ps(s.as_ptr()), product));
                }
            }
        }
    }

    /// The rest of [`pairwise`] from eight sums on.
    #[inline]
    #[target_feature(enable = "avx")]
    fn tree(eight: __m256) -> f32 {
        let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let a: Vec<f32> = (0..144).map(|i| (i as f32 * 0.77).sin() * 1.7f32.powi(i % 11)).collect();
        let b: Vec<f32> = (0..144).map(|i| (i as f32 * 1.31).cos()).collect();
        // SAFETY: the slices are equally long, and instruction sets are used where they are detected.
        let run = |dot: unsafe fn(&[f32], &[f32]) -> f32, add: unsafe fn(&mut [f32], f32, &[f32])| unsafe {
            let mut sums = b.clone();
            add(&mut sums, 0.3, &a);
            (dot(&a, &b), sums)
        };
        let want = run(Portable::dot, Portable::add);
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                assert_eq!(run(Avx2::dot, Avx2::add), want);
            }
            if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vl") {
                assert_eq!(run(Avx512::dot, Avx512::add), want);
            }
        }
        assert!(want.0.is_finite());
    }
}
