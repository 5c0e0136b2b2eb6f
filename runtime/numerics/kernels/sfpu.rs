//! The SFPU's exponentials, as the kernels call them.
//!
//! A fused multiply-add of the SFPU rounds once. It is computed here in f64, which holds the exact product and, for the operands that occur,
//! the exact sum; so the bits do not depend on whether the machine has such an instruction.

#![allow(clippy::excessive_precision, reason = "constants stand as the kernels write them")]

use super::fpu::{rne, truncated};
use crate::mvmul::Arch;

/// a * b + c, rounded to f32.
#[inline(always)]
fn mad(a: f32, b: f32, c: f32) -> f32 {
    (f64::from(a) * f64::from(b) + f64::from(c)) as f32
}

/// e^(d * scale) for d <= 0 by one multiply-add into the bits of a float: `ckernel_sfpu_exp.h`, the fast approximate mode that
/// `exp_packthread_tile` of the streaming attention uses. `slope` is [`approximate_slope`]. Good to 3.4 %; e^0 is 0.9766.
#[inline(always)]
pub(crate) fn exp_approximate(d: f32, slope: f32) -> f32 {
    let code = mad(slope, d, 32_500.818_359_375);
    let rounded = (code.max(0.0) + 0.5) as u32;
    truncated(f32::from_bits(rounded << 15))
}

/// 256 / ln 2 times the scale of the scores.
pub(crate) fn approximate_slope(scale: f32) -> f32 {
    (256.0 / std::f64::consts::LN_2) as f32 * scale
}

/// e^x by 2^n and a polynomial of degree 2, to bf16: the correction between key chunks of the streaming attention.
#[inline(always)]
pub(crate) fn exp_degree_2(x: f32) -> f32 {
    let n = (x * std::f32::consts::LOG2_E).round_ties_even();
    let r = mad(n, -std::f32::consts::LN_2, x);
    let p = mad(mad(0.506_283_67, r, 1.015_087_6), r, 0.999_848_79);
    let scaled = f64::from(p) * f64::from(n.max(-126.0)).exp2();
    if n < -126.0 { 0.0 } else { rne(scaled as f32) }
}

/// Constant term of [`exp_21f`] where a whole tile is exponentiated.
pub(crate) const TILE_CONSTANT: f32 = 1.001_953_125;
/// Constant term of [`exp_21f`] where single columns are.
pub(crate) const COLUMN_CONSTANT: f32 = 1.001_724_8;

/// e^x for x <= 0 to bf16: `_sfpu_exp_21f_` of `ckernel_sfpu_exp.h`, a polynomial of degree 2 of the fraction of x / ln 2.
#[inline(always)]
pub(crate) fn exp_21f(x: f32, constant: f32) -> f32 {
    rne(exp_21f_unrounded(x, constant))
}

/// The same to f32, for any x; infinity from 88.7 on.
#[inline(always)]
fn exp_21f_unrounded(x: f32, constant: f32) -> f32 {
    let biased = mad(x, std::f32::consts::LOG2_E, 127.0).clamp(0.0, 255.0);
    let fixed = (f64::from(biased) * 8_388_608.0) as u32;
    let fraction = (fixed & 0x7f_ffff) as f32;
    let p = mad(fraction, mad(fraction, 4.791_750_143_340_323e-15, 7.839_635_491_371_155e-8), constant);
    let bits = p.to_bits() & 0x807f_ffff | (fixed >> 23 & 255) << 23;
    match fixed >> 23 {
        0 => 0.0,
        255.. => f32::INFINITY,
        _ => f32::from_bits(bits),
    }
}

/// x / (1 + e^-x) to bf16, in a bf16 Dst: `ckernel_sfpu_silu.h`. Wormhole's reciprocal (`ckernel_sfpu_recip.h`) is a quadratic estimate and a
/// step of Newton's; Blackhole has an instruction for the estimate, in whose place the quotient is taken here.
#[inline(always)]
pub(crate) fn silu(x: f32, arch: Arch) -> f32 {
    let denominator = 1.0 + exp_21f_unrounded(-x, COLUMN_CONSTANT);
    let reciprocal = match arch {
        Arch::Wormhole => {
            let bits = denominator.to_bits();
            let negative = -f32::from_bits(bits & 0x7f_ffff | 0x3f80_0000);
            let estimate = mad(0.323_232_501_745_224, negative, 1.454_545_974_731_445_3);
            let estimate = mad(estimate, negative, 2.121_212_482_452_392_6);
            let error = mad(negative, estimate, 1.0);
            let scale = f32::from_bits((254 - (bits >> 23 & 255).min(254)) << 23);
            mad(estimate, error, estimate) * scale
        }
        Arch::Blackhole => 1.0 / denominator,
    };
    rne(x * reciprocal)
}

/// e^x to f32: `_sfpu_exp_f32_accurate_`, which an fp32 Dst uses. The kernel is good to a unit in the last place, this to half of one; what
/// reads the result keeps 11 bits of it.
#[inline(always)]
pub(crate) fn exp_f32(x: f32) -> f32 {
    if x < -87.3 { 0.0 } else { f64::from(x).exp() as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_as_good_as_they_say() {
        assert_eq!(exp_approximate(0.0, approximate_slope(1.0)), 0.976_562_5);
        let bounds = [0.036, 0.006, 0.006, 0.006, 1e-7];
        for i in 0..8000 {
            let x = -(i as f32) / 128.0;
            let want = f64::from(x).exp();
            let got = [
                exp_approximate(x, approximate_slope(1.0)),
                exp_degree_2(x),
                exp_21f(x, TILE_CONSTANT),
                exp_21f(x, COLUMN_CONSTANT),
                exp_f32(x),
            ];
            for (got, bound) in got.iter().zip(bounds) {
                assert!((f64::from(*got) - want).abs() <= bound * want, "{x}: {got} for {want}");
            }
        }
        for arch in [Arch::Wormhole, Arch::Blackhole] {
            for i in -2000..2000 {
                let x = i as f32 / 16.0;
                let (got, want) = (f64::from(silu(x, arch)), f64::from(x) / (1.0 + f64::from(-x).exp()));
                assert!((got - want).abs() <= 0.012 * want.abs() + 1e-36, "{x}: {got} for {want}");
            }
        }
        assert_eq!([exp_21f(-1e9, TILE_CONSTANT), exp_degree_2(-1e4), exp_f32(-1e3)], [0.0; 3]);
    }
}
