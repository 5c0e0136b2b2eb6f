//! Rows of activations in 16-bit fixed point, relative to their largest element: two int8 rows that the integer path can take.
//!
//! x = scale * (256 * high + low), to within half a unit: an error below 2^-15 of the row's largest element.

use crate::simd::{Loop, vectorised};

/// Largest magnitude of a fixed-point activation: its high byte then fits after rounding.
const LARGEST: f32 = 32_512.0;

/// Splits a row into its high and its low bytes; returns what a unit is worth. The slices have the same length; the shortest ends them.
pub fn split_fixed_point(x: &[f32], high: &mut [i8], low: &mut [i8]) -> f32 {
    vectorised(Split { x, high, low })
}

/// Joins the sums of the high and of the low bytes: `out = (256 * high + low) * scale`. The slices have the same length; the shortest ends
/// them.
pub fn join_fixed_point(high: &[i32], low: &[i32], scale: f64, out: &mut [f32]) {
    vectorised(Join { high, low, scale, out });
}

struct Split<'a> {
    x: &'a [f32],
    high: &'a mut [i8],
    low: &'a mut [i8],
}

impl Loop for Split<'_> {
    type Output = f32;

    #[inline(always)]
    fn run(self) -> f32 {
        let mut lanes = [0f32; 16];
        for part in self.x.chunks(16) {
            for (l, v) in lanes.iter_mut().zip(part) {
                let magnitude = v.abs();
                *l = if magnitude > *l { magnitude } else { *l };
            }
        }
        let largest = lanes.into_iter().fold(0f32, f32::max);
        let factor = if largest > 0.0 { LARGEST / largest } else { 0.0 };
        for ((h, l), v) in self.high.iter_mut().zip(self.low).zip(self.x) {
            // Adding 1.5 * 2^23 rounds to even and leaves the integer in the low bits.
            const ROUND: f32 = 12_582_912.0;
            let fixed = ((v * factor + ROUND).to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
            let top = (fixed + 128) >> 8;
            (*h, *l) = (top as i8, (fixed - (top << 8)) as i8);
        }
        if largest > 0.0 { largest / LARGEST } else { 0.0 }
    }
}

struct Join<'a> {
    high: &'a [i32],
    low: &'a [i32],
    scale: f64,
    out: &'a mut [f32],
}

impl Loop for Join<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for ((v, &h), &l) in self.out.iter_mut().zip(self.high).zip(self.low) {
            *v = ((f64::from(h) * 256.0 + f64::from(l)) * self.scale) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_comes_back_to_within_half_a_unit() {
        let x: Vec<f32> = (0..77).map(|i| ((i * 31 % 57) as f32 - 28.0) * 0.731).collect();
        let (mut high, mut low) = (vec![0i8; 77], vec![0i8; 77]);
        let scale = split_fixed_point(&x, &mut high, &mut low);
        let wide = |v: &[i8]| v.iter().map(|v| i32::from(*v)).collect::<Vec<_>>();
        let mut back = vec![0f32; 77];
        join_fixed_point(&wide(&high), &wide(&low), f64::from(scale), &mut back);
        for (x, back) in x.iter().zip(&back) {
            assert!((x - back).abs() <= 0.51 * scale, "{x} {back}");
        }
        assert_eq!(split_fixed_point(&[0.0; 3], &mut high, &mut low), 0.0);
        assert_eq!(&high[..3], [0; 3]);
    }
}
