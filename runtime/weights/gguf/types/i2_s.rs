//! I2_S of bitnet.cpp: 128 codes in 32 bytes, byte `p` holding elements `p`, `p + 32`, `p + 64` and `p + 96` from its upper bits down, each
//! value plus 1. Rows follow each other without a gap, and behind the last lie 32 bytes that begin with the f32 scale.
//!
//! That is how bitnet.cpp's converters write it everywhere and how its `quantize_i2_s` does on x86. On ARM `quantize_i2_s` fills blocks of
//! 64 in 16 bytes, and built without `ACT_PARALLEL` it interleaves four rows; nothing in a file tells them apart.

pub(super) const ELEMENTS: usize = 128;
pub(super) const BYTES: usize = 32;
/// What lies behind the last block.
pub(super) const TAIL: usize = 32;

#[inline]
pub(super) fn at(block: &[u8], at: usize) -> i8 {
    (block[at % 32] >> (6 - 2 * (at / 32)) & 3) as i8 - 1
}

pub(super) fn scale(data: &[u8]) -> Result<f32, String> {
    let (codes, tail) = data.split_at_checked(data.len().saturating_sub(TAIL)).unwrap_or_default();
    // Both bits of a pair set: the code 3, which stands for nothing.
    if let Some(at) = codes.iter().position(|b| b & (b >> 1) & 0x55 != 0) {
        return Err(format!("byte {at} holds the code 3; ternary codes are 0, 1 and 2"));
    }
    let scale = tail.first_chunk::<4>().ok_or("the scale is missing")?;
    Ok(f32::from_le_bytes(*scale))
}
