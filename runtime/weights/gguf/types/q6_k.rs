//! Q6_K: 128 bytes with the lower 4 bits of integers from -32 on, 64 bytes with their upper 2 bits, 16 scales of 8 bits for 16 elements each,
//! and an f16 scale of those. Of each 128 elements, byte `p` of 64 has the lower bits of `p` and `p + 64`, byte `p` of 32 the upper bits of
//! `p`, `p + 32`, `p + 64` and `p + 96`, from the lower bits up.

pub(super) const BYTES: usize = 210;
pub(super) const SCALE: usize = 208;
const HIGH: usize = 128;
const SCALES: usize = 192;

#[inline]
pub(super) fn at(block: &[u8], at: usize) -> f32 {
    let (half, within) = (at / 128, at % 128);
    let low = block[64 * half + within % 64] >> (4 * (within / 64)) & 15;
    let high = block[HIGH + 32 * half + within % 32] >> (2 * (within / 32)) & 3;
    let scale = super::half_at(block, SCALE) * f32::from(block[SCALES + at / 16] as i8);
    scale * f32::from((low | high << 4) as i8 - 32)
}
