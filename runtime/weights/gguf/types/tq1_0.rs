//! TQ1_0: 256 ternary codes in 52 bytes, and an f16 scale. Elements 0 to 159 lie in bytes 0 to 31, one of each 32 after the other; 160 to 239
//! in bytes 32 to 47, one of each 16; 240 to 255 in bytes 48 to 51, one of each 4. A byte is its digits to the base 3, the first the most
//! significant, as a fraction of 256 rounded up: times 3, the carry is the first digit.

pub(super) const BYTES: usize = 54;
pub(super) const SCALE: usize = 52;

#[inline]
pub(super) fn at(block: &[u8], at: usize) -> i8 {
    const POWERS: [u8; 5] = [1, 3, 9, 27, 81];
    let (byte, digit) = match at {
        0..160 => (at % 32, at / 32),
        160..240 => (32 + at % 16, (at - 160) / 16),
        _ => (48 + at % 4, (at - 240) / 4),
    };
    let rest = block[byte].wrapping_mul(POWERS[digit]);
    ((u16::from(rest) * 3) >> 8) as i8 - 1
}
