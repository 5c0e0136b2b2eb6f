//! Q8_0: an f16 scale, and 32 integers of 8 bits.

pub(super) const BYTES: usize = 34;

#[inline]
pub(super) fn at(block: &[u8], at: usize) -> f32 {
    f32::from(block[2 + at] as i8) * super::half_at(block, 0)
}
