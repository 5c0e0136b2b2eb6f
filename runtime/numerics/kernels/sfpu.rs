//! The SFPU's exponentials, as the kernels call them.
//!
//! A fused multiply-add of the SFPU rounds once. It is computed here in f64, which holds the exact product and, for the operands that occur,
//! the exact sum; so the bits do not depend on whether the machine has such an instruction.

#![allow(clippy::excessive_precision, reason = "constants stand as the kernels write them")]

use super::fma;
use super::fpu::{rna, truncated};
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
    truncated(exp_approximate_fp32(d, slope))
}

/// The same, stored to an fp32 Dst.
#[inline(always)]
pub(crate) fn exp_approximate_fp32(d: f32, slope: f32) -> f32 {
    let code = mad(slope, d, 32_500.818_359_375);
    let rounded = (code.max(0.0) + 0.5) as u32;
    f32::from_bits(rounded << 15)
}

/// 256 / ln 2 times the scale of the scores.
pub(crate) fn approximate_slope(scale: f32) -> f32 {
    (256.0 / std::f64::consts::LN_2) as f32 * scale
}

/// e^x for x <= 0 by 2^n and a polynomial: `calculate_exponential_polynomial` of `ckernel_sfpu_sdpa.h`, which corrects what came before a key
/// chunk. A bf16 Dst has degree 2 and rounds to bf16, an fp32 Dst has degree 4.
#[inline(always)]
pub(crate) fn exp_polynomial(x: f32, fp32_dest: bool) -> f32 {
    let n = round_half_away(x * std::f32::consts::LOG2_E).max(-127.0);
    let r = mad(n, -std::f32::consts::LN_2, x);
    let evaluate = |p: f32, c: f32| mad(p, r, c);
    let p = match fp32_dest {
        false => [1.015_087_6, 0.999_848_79].into_iter().fold(0.506_283_67, evaluate),
        true => [0.167_921_58, 0.499_983_66, 0.999_962_28, 1.000_000_15].into_iter().fold(0.041_959_44, evaluate),
    };
    let scaled = f32::from_bits((n + 127.0) as u32 * (1 << 23)) * p;
    if fp32_dest { scaled } else { rna(scaled) }
}

/// To the nearest integer, ties away from zero, as the SFPU converts to integers.
#[inline(always)]
fn round_half_away(x: f32) -> f32 {
    let magnitude = (f64::from(x.abs()) + 0.5).floor();
    (magnitude as f32).copysign(x)
}

/// Constant term of [`exp_21f`] where a whole tile is exponentiated.
pub(crate) const TILE_CONSTANT: f32 = 1.001_953_125;
/// Constant term of [`exp_21f`] where single columns are.
pub(crate) const COLUMN_CONSTANT: f32 = 1.001_724_8;

/// e^x for x <= 0 to bf16: `_sfpu_exp_21f_` of `ckernel_sfpu_exp.h`, a polynomial of degree 2 of the fraction of x / ln 2.
#[inline(always)]
pub(crate) fn exp_21f(x: f32, constant: f32) -> f32 {
    rna(exp_21f_unrounded(x, constant))
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

/// 1 / x by an estimate and `steps` of Newton's, 1 or 2: `sfpu_reciprocal_iter` of `ckernel_sfpu_recip.h`. The estimate is quadratic on
/// Wormhole and [an instruction's](estimate) on Blackhole.
#[inline(always)]
pub(crate) fn reciprocal(x: f32, steps: u32, arch: Arch) -> f32 {
    match arch {
        Arch::Wormhole => {
            let bits = x.to_bits();
            let negative = -f32::from_bits(bits & 0x7f_ffff | 0x3f80_0000);
            let first = mad(0.323_232_501_745_224, negative, 1.454_545_974_731_445_3);
            let mut y = mad(first, negative, 2.121_212_482_452_392_6);
            for _ in 0..steps {
                let error = mad(negative, y, 1.0);
                y = mad(y, error, y);
            }
            let scale = f32::from_bits((254 - (bits >> 23 & 255).min(254)) << 23);
            (y * scale).copysign(x)
        }
        Arch::Blackhole => {
            let mut y = estimate(x);
            for _ in 0..steps {
                let error = mad(x, y, -2.0);
                // Not where x or y is 0 or infinite.
                if error < 0.0 {
                    y = mad(y, -error, -0.0);
                }
            }
            y
        }
    }
}

/// 1 / x of finite x in an fp32 Dst to the last bit, as the unary function has it: on Wormhole what [`reciprocal`] is after two steps, on
/// Blackhole the estimate times a polynomial of its error (`_calculate_reciprocal_fast_24b_5c_`).
pub(crate) fn reciprocal_f32(x: f32, arch: Arch) -> f32 {
    let mad = |a, b, c| fma::mad(a, b, c, arch);
    match arch {
        Arch::Wormhole => {
            let negative = -f32::from_bits(x.to_bits() & 0x7f_ffff | 0x3f80_0000);
            let mut y =
                mad(mad(0.323_232_501_745_224, negative, 1.454_545_974_731_445_3), negative, 2.121_212_482_452_392_6);
            for _ in 0..2 {
                y = mad(y, mad(negative, y, 1.0), y);
            }
            let scale = f32::from_bits((254 - (x.to_bits() >> 23 & 255).min(254)) << 23);
            (y * scale).copysign(x)
        }
        Arch::Blackhole => {
            let y = estimate(x);
            let e = mad(-x, y, 1.0);
            mad(mad(mad(e, e, e), e, e).min(1.0), y, y)
        }
    }
}

/// Blackhole's SFPARECIP: 2 / m of the middle of the 128th of [1, 2) that the mantissa is in, rounded to 7 bits.
#[inline(always)]
fn estimate(x: f32) -> f32 {
    let bits = x.to_bits() & 0x7fff_ffff;
    let magnitude = match bits {
        0..0x80_0000 => f32::INFINITY,
        0x7e80_0000.. => 0.0,
        _ => {
            let middle = 1.0 + ((bits >> 16 & 127) as f32 + 0.5) / 128.0;
            let mantissa = ((2.0 / middle - 1.0) * 128.0 + 0.5) as u32;
            f32::from_bits((253 - (bits >> 23)) << 23 | mantissa << 16)
        }
    };
    magnitude.copysign(x)
}

/// x / (1 + e^-x) to bf16, in a bf16 Dst: `ckernel_sfpu_silu.h`.
#[inline(always)]
pub(crate) fn silu(x: f32, arch: Arch) -> f32 {
    rna(x * reciprocal(1.0 + exp_21f_unrounded(-x, COLUMN_CONSTANT), 1, arch))
}

/// e^x for x <= 0 to f32: `_sfpu_exp_fp32_accurate_` of `ckernel_sfpu_exp.h`, which an fp32 Dst uses.
#[inline(always)]
#[allow(clippy::approx_constant, reason = "the digits of the kernel's own constant")]
pub(crate) fn exp_f32(x: f32) -> f32 {
    // Below this it is 0 in any case.
    let x = x.max(-200.0);
    let n = round_half_away(1.442_695 * x);
    let f = mad(n, -1.428_606_77e-6, mad(n, -0.693_145_752, x));
    let coefficients = [8.373_124_52e-3, 4.166_953_64e-2, 1.666_647_2e-1, 4.999_998_51e-1, 1.0, 1.0];
    let r = coefficients.into_iter().fold(1.378_059_39e-3, |r, c| mad(r, f, c));
    let exponent = (r.to_bits() >> 23) as i32 + n as i32;
    if exponent < 1 { 0.0 } else { f32::from_bits(r.to_bits() & 0x7f_ffff | (exponent as u32) << 23) }
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
                exp_polynomial(x, false),
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
        assert_eq!([exp_21f(-1e9, TILE_CONSTANT), exp_polynomial(-1e4, false), exp_f32(-1e3)], [0.0; 3]);
        for (x, arch) in
            [1.0f32, -3.7, 1e-20, 255.99].iter().flat_map(|x| [(*x, Arch::Wormhole), (*x, Arch::Blackhole)])
        {
            for steps in [1, 2] {
                let error = reciprocal(x, steps, arch) * x - 1.0;
                assert!(error.abs() < [0.0, 2e-4, 3e-7][steps as usize], "{x}: {error}");
            }
            assert!((reciprocal_f32(x, arch) * x - 1.0).abs() < 3e-7, "{x}");
        }
        // Mantissas of bf16 of which the kernel's reciprocal, seen on the simulator, is not the nearest number, and by how much.
        let off = |arch| {
            let of = |i: i32| (i, 1.0 + i as f32 / 128.0);
            let by = |(i, x): (i32, f32)| (i, reciprocal_f32(x, arch).to_bits() as i32 - (1.0 / x).to_bits() as i32);
            (0..128).map(of).map(by).filter(|(_, by)| *by != 0).collect::<Vec<_>>()
        };
        let below = [30, 39, 53, 67, 93, 95, 96, 122].map(|i| (i, -1));
        let mut wormhole = Vec::from(below);
        wormhole.splice(0..0, [(13, 1)]);
        wormhole.insert(8, (109, 1));
        assert_eq!((off(Arch::Wormhole), off(Arch::Blackhole)), (wormhole, vec![(127, -1)]));
        // The ends of the instruction's table, and its middle.
        let mantissa = |x: f32| estimate(x).to_bits() >> 16 & 127;
        assert_eq!([1.0, 1.5, 1.992_187_5, 1.984_375].map(mantissa), [127, 42, 0, 1]);
        assert_eq!([estimate(0.0), estimate(-1e38)], [f32::INFINITY, 0.0]);
    }
}
