//! The FPU's elementwise operations and its products with a column of one number.
//!
//! An operand passes SrcA or SrcB and has 11 significant bits there (TF32); as SrcA of a product the last of them is not used.

use super::Compute;
use crate::format::TILE;
use crate::lanes::{Accumulation, Lanes, Operand, combine_lane};
use crate::mvmul::{Fidelity, Src, exponent_bias};
use crate::operands::{Activation, SrcATile};
use crate::rounding::{bf16_host, bf16_packed, bf16_truncated, widen};
use crate::simd::{Loop, vectorised};

/// To bf16 as the packer rounds an fp32 Dst: ties away from zero.
#[inline(always)]
pub(crate) fn rna(v: f32) -> f32 {
    widen(bf16_packed(v.to_bits()))
}

/// To bf16, ties to even: L1 accumulation, and the SFPU where a kernel rounds before it stores.
#[inline(always)]
pub(crate) fn rne(v: f32) -> f32 {
    widen(bf16_host(v))
}

/// To bf16 by dropping the low bits: a store of the SFPU to a bf16 Dst.
#[inline(always)]
pub(crate) fn truncated(v: f32) -> f32 {
    widen(bf16_truncated(v))
}

/// To the 11 significant bits an fp32 buffer keeps when it is read through SrcA or SrcB.
#[inline(always)]
pub(crate) fn tf32(v: f32) -> f32 {
    f32::from_bits(v.to_bits() & 0xffff_e000)
}

/// ELWADD into an fp32 Dst: the smaller operand's 11-bit magnitude is shifted to the larger one's exponent and rounded half up; the sum is
/// exact. A bf16 Dst rounds it by [`rna`]. ELWSUB is this with the second operand negated.
#[inline(always)]
pub(crate) fn fadd(a: f32, b: f32) -> f32 {
    let (a, b) = (a.to_bits(), b.to_bits());
    let (ea, eb) = (a >> 23 & 255, b >> 23 & 255);
    let largest = ea.max(eb);
    let term = |bits: u32, exponent: u32| {
        let magnitude = if exponent == 0 { 0 } else { 1024 | bits >> 13 & 1023 };
        let d = (largest - exponent).min(12);
        let aligned = ((magnitude + (1 << d >> 1)) >> d) as i32;
        let sign = bits as i32 >> 31;
        (aligned ^ sign) - sign
    };
    let sum = (term(a, ea) + term(b, eb)) as f32 * (1.0 / 1024.0) * f32::from_bits(largest << 23);
    if sum.abs() < f32::MIN_POSITIVE { 0.0 } else { sum }
}

/// ELWADD as Dst holds it.
#[inline(always)]
pub(crate) fn fadd_dst(a: f32, b: f32, fp32_dest: bool) -> f32 {
    let sum = fadd(a, b);
    if fp32_dest { sum } else { rna(sum) }
}

/// Elements multiplied together.
const BLOCK: usize = 64;

/// ELWMUL: `a` (SrcA) times `b` (SrcB) into `out`, as Dst holds the products.
///
/// The phases of a product accumulate into Dst one after another and each rounds as an MVMUL of one product does.
pub(crate) fn fmul(a: &[f32], b: &[f32], how: Compute, out: &mut [f32]) {
    vectorised(Products { a, b, how, out });
}

/// [`fmul`] by one number.
pub(crate) fn fmul_scalar(a: &[f32], b: f32, how: Compute, out: &mut [f32]) {
    let column = [b; BLOCK];
    for (a, out) in a.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
        fmul(a, &column[..a.len()], how, out);
    }
}

struct Products<'a> {
    a: &'a [f32],
    b: &'a [f32],
    how: Compute,
    out: &'a mut [f32],
}

impl Loop for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for ((a, b), out) in self.a.chunks(BLOCK).zip(self.b.chunks(BLOCK)).zip(self.out.chunks_mut(BLOCK)) {
            let whole = self.how.fp32_dest && self.how.fidelity == Fidelity::HiFi4 && exact_products(a, b, out);
            if !whole {
                phases(a, b, self.how, out);
            }
        }
    }
}

/// All four phases in an fp32 Dst give the exact product of what SrcA and SrcB hold. False if one is so small that a phase may flush.
#[inline(always)]
fn exact_products(a: &[f32], b: &[f32], out: &mut [f32]) -> bool {
    const SMALL: f32 = 1e-30;
    let mut small = 0u32;
    for ((a, b), out) in a.iter().zip(b).zip(&mut *out) {
        let product = f32::from_bits(a.to_bits() & 0xffff_c000) * tf32(*b);
        small |= u32::from(product.abs() < SMALL && *a != 0.0 && *b != 0.0);
        *out = product;
    }
    small == 0
}

#[inline(always)]
fn phases(a: &[f32], b: &[f32], how: Compute, out: &mut [f32]) {
    out.fill(0.0);
    for phase in 0..how.fidelity.phases() {
        for ((a, b), out) in a.iter().zip(b).zip(&mut *out) {
            let (a, b) = (Src::from_bits(a.to_bits()), Src::from_bits(b.to_bits()));
            let exponent = (a.exponent + b.exponent) as i32 + exponent_bias(phase);
            let live = a.exponent != 0 && b.exponent != 0 && exponent > 0;
            let magnitude = (a.a_bits(phase) * b.b_bits(phase)) as i32;
            let signed = if a.negative ^ b.negative { -magnitude } else { magnitude };
            let product = if live { (exponent, signed) } else { (0, 0) };
            let dst = out.to_bits();
            // Terms of one sign never leave the negative unit in which the chips differ.
            let sum = if how.fp32_dest {
                combine_lane::<true, false>(dst, product, (0, 0))
            } else {
                combine_lane::<false, false>(dst, product, (0, 0))
            };
            *out = f32::from_bits(sum);
        }
    }
}

/// A matmul's or a reduction's column of one number: sums of up to 32 rows at once, by MVMUL.
pub(crate) struct Column {
    weights: [Activation; TILE],
    how: Accumulation,
}

impl Column {
    /// A column of `weight`.
    pub fn new(weight: f32, how: Compute) -> Self {
        let how = Accumulation { tile: Operand::SrcB, ..how.accumulation() };
        Column { weights: [Activation::of_src_a(weight.to_bits()); TILE], how }
    }

    /// Adds up to 32 numbers of each row to its sum, the bits of its Dst.
    pub fn add<'a>(&self, rows: impl ExactSizeIterator<Item = &'a [f32]>, sums: &mut [u32; TILE]) {
        let mut columns = [[0u32; TILE]; TILE];
        for (n, row) in rows.enumerate() {
            columns.iter_mut().zip(row).for_each(|(column, v)| column[n] = v.to_bits());
        }
        let mut tile = SrcATile::zeroed();
        vectorised(Activations { tile: &mut tile, columns: &columns });
        Lanes::best().accumulate(&tile, &[&self.weights], std::slice::from_mut(sums), self.how);
    }

    /// The sums of rows of one length, tile by tile, as Dst holds them.
    pub fn sums(&self, rows: &[&[f32]]) -> [f32; TILE] {
        let mut sums = [0; TILE];
        let columns = rows.first().map_or(0, |row| row.len());
        for first in (0..columns).step_by(TILE) {
            self.add(rows.iter().map(|row| &row[first..columns.min(first + TILE)]), &mut sums);
        }
        sums.map(f32::from_bits)
    }
}

struct Activations<'a> {
    tile: &'a mut SrcATile,
    columns: &'a [[u32; TILE]; TILE],
}

impl Loop for Activations<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.tile.set_activations(|k| self.columns[k]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mvmul::{Arch, mvmul};

    fn values() -> Vec<f32> {
        (0..4096u32).map(|i| f32::from_bits(i.wrapping_mul(0x9e37_79b9) & 0x8fff_ffff | 0x3800_0000)).collect()
    }

    #[test]
    fn a_product_is_an_mvmul_of_one() {
        let (a, mut b) = (values(), values());
        b.reverse();
        for fidelity in [Fidelity::LoFi, Fidelity::HiFi2, Fidelity::HiFi3, Fidelity::HiFi4] {
            for fp32_dest in [false, true] {
                let mut got = vec![0.0; a.len()];
                fmul(&a, &b, Compute { arch: Arch::Wormhole, fidelity, fp32_dest }, &mut got);
                for ((a, b), got) in a.iter().zip(&b).zip(&got) {
                    let (mut left, mut right) = ([Src::default(); 16], [Src::default(); 16]);
                    (left[0], right[0]) = (Src::from_bits(a.to_bits()), Src::from_bits(b.to_bits()));
                    let step = |dst, phase| mvmul(&left, &right, dst, phase, fp32_dest, Arch::Wormhole);
                    assert_eq!(got.to_bits(), (0..fidelity.phases()).fold(0, step), "{a} {b} {fidelity:?} {fp32_dest}");
                }
            }
        }
    }

    #[test]
    fn a_sum_aligns_to_eleven_bits_and_rounds_half_up() {
        assert_eq!(fadd(1024.0, 0.5), 1025.0);
        assert_eq!(fadd(-1024.0, -0.5), -1025.0);
        assert_eq!(fadd(1024.0, 0.499), 1024.0);
        assert_eq!(fadd(1024.0, -1024.0), 0.0);
        assert_eq!(fadd(0.0, -3.0), -3.0);
        assert_eq!(fadd_dst(256.0, 1.0, false), 258.0);
        assert_eq!(fadd_dst(256.0, 1.0, true), 257.0);
    }
}
