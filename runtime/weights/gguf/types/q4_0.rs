//! Q4_0: an f16 scale, and 16 bytes of integers of 4 bits from -8 on: elements 0 to 15 in the lower halves, 16 to 31 in the upper ones.

pub(super) const BYTES: usize = 18;

#[inline]
pub(super) fn at(block: &[u8], at: usize) -> f32 {
    let code = block[2 + at % 16] >> (4 * (at / 16)) & 15;
    super::half_at(block, 0) * f32::from(code as i8 - 8)
}
