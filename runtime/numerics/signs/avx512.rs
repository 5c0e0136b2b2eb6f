//! The kernel of [`super::accumulate`]: 32 columns in the 16-bit lanes of one register, Dst as bf16.
//!
//! Magnitudes count units of the 11th bit below the largest exponent, which is what a bf16 Dst keeps of every term: a group's sum has 15 bits
//! of them at most, Dst has 8 bits and three zeros.

use std::arch::x86_64::*;

use super::{GROUP, Group, SignTile};
use crate::format::TILE;
use crate::mvmul::exponent_bias;
use crate::operands::ZERO;

/// Added before a magnitude is shifted right by `d` (index `d`, and `16 + d` for negative terms, whose ties go down). The FPU rounds twice, to
/// 13 bits more than it keeps and then to those; that is rounding once, except that from a shift of 14 on the first rounding can reach a tie.
const ROUNDING: [u16; 32] = {
    let mut table = [0; 32];
    let mut d = 1;
    while d < 16 {
        let half = 1 << (d - 1);
        let extra = if d < 14 { 0 } else { d as u16 - 13 };
        table[d] = half + extra;
        table[16 + d] = half - extra - 1;
        d += 1;
    }
    table
};

/// Exponents and sums of a group over 32 columns.
#[derive(Clone, Copy)]
struct Sums {
    exponent: __m512i,
    sum: __m512i,
}

/// As [`super::accumulate`].
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512vl,avx512dq")]
pub(super) fn accumulate(tile: &SignTile, groups: &[Group; TILE / GROUP], phases: u32, dst: &mut [u32; TILE]) {
    let zero = _mm512_setzero_si512();
    // SAFETY: 32 words of 32 bits are two registers; the loads need no alignment.
    let (low, high) = unsafe {
        let at = dst.as_ptr().cast::<u8>();
        (_mm512_loadu_si512(at.cast()), _mm512_loadu_si512(at.add(64).cast()))
    };
    let halves =
        (_mm512_cvtepi32_epi16(_mm512_srli_epi32(low, 16)), _mm512_cvtepi32_epi16(_mm512_srli_epi32(high, 16)));
    let mut sum = _mm512_inserti64x4(_mm512_castsi256_si512(halves.0), halves.1, 1);

    let mut exponents = [zero; TILE / GROUP];
    for (at, (exponent, group)) in exponents.iter_mut().zip(groups).enumerate() {
        *exponent = largest(tile, at, group);
    }
    for phase in 0..phases {
        let bias = _mm512_set1_epi16(exponent_bias(phase) as i16 + ONE);
        let live = exponents.map(|e| _mm512_max_epi16(_mm512_add_epi16(e, bias), zero));
        for half in [0, 2] {
            let (first, second) = (half, half + 1);
            sum = if phase & 1 == 0 {
                let part = (phase / 2) as usize;
                let sums =
                    |at: usize| Sums { exponent: live[at], sum: group_sum(tile, at, &groups[at], part, exponents[at]) };
                combine(sum, sums(first), sums(second))
            } else {
                idle(sum, live[first], live[second])
            };
        }
    }
    let wide = |half: __m256i| _mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16);
    // SAFETY: as above.
    unsafe {
        let at = dst.as_mut_ptr().cast::<u8>();
        _mm512_storeu_si512(at.cast(), wide(_mm512_castsi512_si256(sum)));
        _mm512_storeu_si512(at.add(64).cast(), wide(_mm512_extracti64x4_epi64(sum, 1)));
    }
}

/// Exponent of the weights 1 and -1.
const ONE: i16 = 127;

/// The largest exponent of the activations of group `at` whose weight is not zero.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512vl,avx512dq")]
fn largest(tile: &SignTile, at: usize, group: &Group) -> __m512i {
    let mut largest = _mm512_set1_epi16(ZERO);
    for i in 0..GROUP {
        let k = at * GROUP + i;
        let live = tile.positive[k] | tile.negative[k];
        largest = _mm512_mask_max_epi16(largest, live, largest, _mm512_set1_epi16(group.exponent[i]));
    }
    largest
}

/// The sum of group `at`, phase 0 (`part` 0) or 2, aligned to each column's largest exponent.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512vl,avx512dq")]
fn group_sum(tile: &SignTile, at: usize, group: &Group, part: usize, largest: __m512i) -> __m512i {
    let zero = _mm512_setzero_si512();
    let (mut first, mut second) = (zero, zero);
    for i in 0..GROUP {
        let k = at * GROUP + i;
        let x = _mm512_set1_epi16(group.aligned[part][i]);
        first = _mm512_mask_add_epi16(first, tile.positive[k], first, x);
        second = _mm512_mask_add_epi16(second, tile.negative[k], second, x);
    }
    let above = _mm512_sub_epi16(_mm512_set1_epi16(group.largest), largest);
    let mut sum = _mm512_sllv_epi16(_mm512_sub_epi16(first, second), above);
    let mut rounded = group.rounded[part];
    while rounded != 0 {
        let i = rounded.trailing_zeros() as usize;
        rounded &= rounded - 1;
        let k = at * GROUP + i;
        let shift = _mm512_sub_epi16(largest, _mm512_set1_epi16(group.exponent[i]));
        let aligned = _mm512_srlv_epi16(_mm512_set1_epi16(group.doubled[part][i]), shift);
        let x = _mm512_avg_epu16(aligned, zero);
        let (mut add, mut subtract) = (tile.positive[k], tile.negative[k]);
        if group.negative >> i & 1 != 0 {
            std::mem::swap(&mut add, &mut subtract);
        }
        sum = _mm512_mask_add_epi16(sum, add, sum, x);
        sum = _mm512_mask_sub_epi16(sum, subtract, sum, x);
    }
    sum
}

/// Shifts magnitudes right by `d` and rounds as the FPU aligns a term; `sign` is 0 or -1.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512vl,avx512dq")]
fn align(magnitude: __m512i, sign: __m512i, d: __m512i) -> __m512i {
    // SAFETY: 32 words of 16 bits are 64 bytes; the load needs no alignment.
    let table = unsafe { _mm512_loadu_si512(ROUNDING.as_ptr().cast()) };
    // Bits of d where the mask has them, of the sign elsewhere; only 5 bits of an index count.
    let index = _mm512_ternarylogic_epi32(_mm512_set1_epi16(15), d, sign, 0xca);
    _mm512_srlv_epi16(_mm512_add_epi16(magnitude, _mm512_permutexvar_epi16(index, table)), d)
}

/// The same of signed terms.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512vl,avx512dq")]
fn align_signed(term: __m512i, d: __m512i) -> __m512i {
    let sign = _mm512_srai_epi16(term, 15);
    let aligned = align(_mm512_abs_epi16(term), sign, d);
    _mm512_sub_epi16(_mm512_xor_si512(aligned, sign), sign)
}

/// Adds two groups to Dst.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512vl,avx512dq")]
fn combine(dst: __m512i, first: Sums, second: Sums) -> __m512i {
    let zero = _mm512_setzero_si512();
    let exponent = _mm512_and_si512(_mm512_srli_epi16(dst, 7), _mm512_set1_epi16(255));
    let largest = _mm512_max_epi16(_mm512_max_epi16(first.exponent, second.exponent), exponent);
    let below = |exponent: __m512i| _mm512_sub_epi16(largest, exponent);
    // (dst & 127) | 128, at the top of 11 bits; 0 where the exponent is.
    let mantissa = _mm512_or_si512(_mm512_and_si512(dst, _mm512_set1_epi16(127)), _mm512_set1_epi16(128));
    let live = _mm512_test_epi16_mask(exponent, exponent);
    let held = align(_mm512_maskz_slli_epi16::<3>(live, mantissa), zero, below(exponent));
    let held = _mm512_mask_sub_epi16(held, _mm512_movepi16_mask(dst), zero, held);
    let terms = _mm512_add_epi16(
        align_signed(first.sum, below(first.exponent)),
        align_signed(second.sum, below(second.exponent)),
    );
    let sum = _mm512_add_epi16(held, terms);

    // As floats of whole numbers, whose exponents then move by that of a unit; ties go away from zero.
    let unit = _mm512_sub_epi16(largest, _mm512_set1_epi16(127 + 10));
    let even = _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(sum, 16), 16));
    let odd = _mm512_cvtepi32_ps(_mm512_srai_epi32(sum, 16));
    let half = _mm512_set1_epi32(0x8000);
    let even = _mm512_add_epi32(_mm512_castps_si512(even), _mm512_add_epi32(_mm512_slli_epi32(unit, 23), half));
    let odd_unit = _mm512_slli_epi32(_mm512_srai_epi32(unit, 16), 23);
    let odd = _mm512_add_epi32(_mm512_castps_si512(odd), _mm512_add_epi32(odd_unit, half));
    let both = _mm512_mask_blend_epi16(0xaaaa_aaaa, _mm512_srli_epi32(even, 16), odd);
    _mm512_maskz_mov_epi16(_mm512_test_epi16_mask(sum, sum), both)
}

/// Adds two groups of zero products, which still align Dst to their exponents. Dst has three spare bits before it loses any.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512vl,avx512dq")]
fn idle(dst: __m512i, first: __m512i, second: __m512i) -> __m512i {
    let zero = _mm512_setzero_si512();
    let exponent = _mm512_and_si512(_mm512_srli_epi16(dst, 7), _mm512_set1_epi16(255));
    let spare = _mm512_add_epi16(exponent, _mm512_set1_epi16(3));
    let loses = _mm512_cmpgt_epi16_mask(_mm512_max_epi16(first, second), spare);
    if _mm512_mask_test_epi16_mask(loses, exponent, exponent) == 0 {
        return dst;
    }
    combine(dst, Sums { exponent: first, sum: zero }, Sums { exponent: second, sum: zero })
}
