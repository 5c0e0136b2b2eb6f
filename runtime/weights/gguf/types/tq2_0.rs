//! TQ2_0: 256 ternary codes in 64 bytes, and an f16 scale. Byte `p` of the first half holds elements `p`, `p + 32`, `p + 64` and `p + 96` from
//! its lower bits up, each value plus 1; the second half holds the other 128 elements likewise.

pub(super) const BYTES: usize = 66;
pub(super) const SCALE: usize = 64;

#[inline]
pub(super) fn at(block: &[u8], at: usize) -> i8 {
    (block[at / 128 * 32 + at % 32] >> (2 * (at % 128 / 32)) & 3) as i8 - 1
}

/// Refuses the code 3, which stands for nothing.
pub(super) fn check(block: &[u8]) -> Result<(), String> {
    match block[..SCALE].iter().position(|b| b & (b >> 1) & 0x55 != 0) {
        Some(at) => Err(format!("byte {at} holds the code 3; ternary codes are 0, 1 and 2")),
        None => Ok(()),
    }
}
