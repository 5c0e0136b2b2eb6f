//! f32 to bf16, in the three ways that occur: the host rounds to nearest even, the packer rounds ties
//! away from zero, the unpacker truncates.

use half::bf16;

use crate::simd::{Loop, vectorised};

/// Host conversion: to nearest, ties to even; every NaN becomes 0x7fc0.
#[inline(always)]
pub fn bf16_host(v: f32) -> bf16 {
    let bits = v.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16;
    bf16::from_bits(if v.is_nan() { 0x7fc0 } else { rounded })
}

/// Packer conversion of fp32 Dst bits: NaN to infinity, ties away from zero, no denormals.
#[inline(always)]
pub fn bf16_packed(bits: u32) -> bf16 {
    let nan = bits & 0x7fff_ffff > 0x7f80_0000;
    let clean = if nan { (bits & 0x8000_0000) | 0x7f80_0000 } else { bits };
    flush_bf16((clean.wrapping_add(0x8000) >> 16) as u16)
}

/// Packer conversion of bf16 Dst bits to bf16: NaN to infinity, exponent 0 to +0.
#[inline(always)]
pub fn bf16_cleaned(bits: u16) -> bf16 {
    let nan = bits & 0x7fff > 0x7f80;
    flush_bf16(if nan { (bits & 0x8000) | 0x7f80 } else { bits })
}

/// Unpacker conversion: denormals to zero, the low 16 bits dropped.
#[inline(always)]
pub fn bf16_truncated(v: f32) -> bf16 {
    let bits = v.to_bits();
    let zero = bits & 0x7f80_0000 == 0;
    bf16::from_bits(if zero { 0 } else { (bits >> 16) as u16 })
}

#[inline(always)]
fn flush_bf16(h: u16) -> bf16 {
    bf16::from_bits(if h & 0x7f80 == 0 { 0 } else { h })
}

/// The exact f32 of a bf16.
#[inline(always)]
pub fn widen(h: bf16) -> f32 {
    f32::from_bits(u32::from(h.to_bits()) << 16)
}

/// Rounds a slice to bf16 as the host does. The slices have the same length; the shorter one ends it.
pub fn narrow_slice(src: &[f32], dst: &mut [bf16]) {
    vectorised(Each(src, dst, bf16_host));
}

/// Rounds a slice of fp32 Dst to bf16 as the packer does. The slices have the same length; the shorter one ends it.
pub fn pack_slice(src: &[f32], dst: &mut [bf16]) {
    vectorised(Each(src, dst, |v: f32| bf16_packed(v.to_bits())));
}

/// Widens a slice exactly. The slices have the same length; the shorter one ends it.
pub fn widen_slice(src: &[bf16], dst: &mut [f32]) {
    vectorised(Each(src, dst, widen));
}

/// A function of each element.
struct Each<'a, I, O, F>(&'a [I], &'a mut [O], F);

impl<I: Copy, O, F: Fn(I) -> O> Loop for Each<'_, I, O, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (d, &s) in self.1.iter_mut().zip(self.0) {
            *d = (self.2)(s);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_rounding_is_nearest_even() {
        for bits in (0..=u32::MAX).step_by(4099) {
            let v = f32::from_bits(bits);
            if v.is_nan() {
                assert_eq!(bf16_host(v).to_bits(), 0x7fc0);
            } else {
                assert_eq!(bf16_host(v).to_bits(), bf16::from_f32(v).to_bits(), "{bits:08x}");
            }
        }
    }

    #[test]
    fn packer_rounds_ties_away_and_flushes() {
        assert_eq!(bf16_packed(0x3f80_8000).to_bits(), 0x3f81);
        assert_eq!(bf16_packed(0xbf80_8000).to_bits(), 0xbf81);
        assert_eq!(bf16_packed(0x3f80_7fff).to_bits(), 0x3f80);
        assert_eq!(bf16_packed(0x7fc0_0001).to_bits(), 0x7f80);
        assert_eq!(bf16_packed(0x8000_0001).to_bits(), 0);
        assert_eq!(bf16_cleaned(0xffc1).to_bits(), 0xff80);
        assert_eq!(bf16_cleaned(0x807f).to_bits(), 0);
        assert_eq!(bf16_truncated(f32::from_bits(0x3f80_ffff)).to_bits(), 0x3f80);
    }
}
