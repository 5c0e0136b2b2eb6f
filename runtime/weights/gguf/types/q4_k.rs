//! Q4_K: f16 scales of scales and of offsets, 12 bytes with a scale and an offset of 6 bits for each of 8 groups of 32 elements, and 128
//! bytes of integers of 4 bits: 64 elements in 32 bytes, the first 32 in the lower halves. An element is scale * integer - offset.

pub(super) const BYTES: usize = 144;
const CODES: usize = 16;

#[inline]
pub(super) fn at(block: &[u8], at: usize) -> f32 {
    let (scale, offset) = group(&block[4..CODES], at / 32);
    let code = block[CODES + at / 64 * 32 + at % 32] >> (4 * (at / 32 % 2)) & 15;
    let (d, dmin) = (super::half_at(block, 0), super::half_at(block, 2));
    d * f32::from(scale) * f32::from(code) - dmin * f32::from(offset)
}

/// Scale and offset of a group. Those of the first four groups are the lower 6 bits of a byte each; the others have 4 bits together in a
/// byte of the last four, and their upper 2 bits in what the first eight leave.
fn group(packed: &[u8], group: usize) -> (u8, u8) {
    if group < 4 {
        return (packed[group] & 63, packed[group + 4] & 63);
    }
    let low = packed[group + 4];
    (low & 15 | packed[group - 4] >> 6 << 4, low >> 4 | packed[group] >> 6 << 4)
}
