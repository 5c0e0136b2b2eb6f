//! Unpacking: tile bytes to the values that SrcA, SrcB and the host see.
//!
//! A block-format code with magnitude 0 reads as +0 when its sign is clear and as -infinity (to the FPU,
//! -2^128) when it is set; nothing that packs here writes the latter. Every other code is normalised: its
//! significand is shifted until the leading bit is set and the exponent falls by as much, modulo 256.

use half::bf16;

use crate::format::{EXPONENTS, Format, GROUP, TILE, element_index, face_row};
use crate::rounding::widen;

/// The bf16 bits a block-format code of 8 bits stands for under a shared exponent.
/// A 4-bit code is read as the 8-bit code with the sign moved and the magnitude shifted left by 4.
///
/// No branch depends on the code: the magnitude is normalised in steps of 4, 2 and 1, which vectorises.
#[inline(always)]
pub(crate) fn code_bits(code: u8, shared: u8) -> u16 {
    let sign = u16::from(code >> 7) << 15;
    let magnitude = u16::from(code & 0x7f);
    let (mut m, mut exponent) = (magnitude, u16::from(shared));
    for (limit, step) in [(8, 4), (32, 2), (64, 1)] {
        let small = m < limit;
        m = if small { m << step } else { m };
        exponent = if small { exponent.wrapping_sub(step) } else { exponent };
    }
    let normal = sign | (exponent & 255) << 7 | (m & 0x3f) << 1;
    let zero = if sign == 0 { 0 } else { 0xff80 };
    if magnitude == 0 { zero } else { normal }
}

/// Widens a 4-bit code to the 8-bit code of the same value.
#[inline]
pub(crate) fn widen_code(nibble: u8) -> u8 {
    (nibble & 8) << 4 | (nibble & 7) << 4
}

/// The 8-bit codes of one group of a block-format tile.
#[inline(always)]
pub(crate) fn group_codes(format: Format, group: usize, tile: &[u8]) -> [u8; GROUP] {
    let mut codes = [0u8; GROUP];
    if format == Format::Bfp8 {
        let at = EXPONENTS + group * GROUP;
        codes.copy_from_slice(&tile[at..at + GROUP]);
    } else {
        let at = EXPONENTS + group * GROUP / 2;
        let mut bytes = [0u8; GROUP / 2];
        bytes.copy_from_slice(&tile[at..at + GROUP / 2]);
        let word = u64::from_le_bytes(bytes);
        for (i, c) in codes.iter_mut().enumerate() {
            *c = widen_code((word >> (4 * i)) as u8 & 15);
        }
    }
    codes
}

/// Row `row` of a tile as bf16 bits; an f32 tile loses its low 16 bits.
#[inline(always)]
pub(crate) fn unpack_row_bf16(format: Format, row: usize, tile: &[u8]) -> [u16; TILE] {
    let mut out = [0u16; TILE];
    for half in 0..TILE / GROUP {
        let part = &mut out[half * GROUP..(half + 1) * GROUP];
        let at = element_index(row, half * GROUP);
        match format {
            Format::F32 => {
                let words = tile[4 * at..4 * (at + GROUP)].as_chunks::<4>().0;
                for (o, &w) in part.iter_mut().zip(words) {
                    *o = (u32::from_le_bytes(w) >> 16) as u16;
                }
            }
            Format::Bf16 => {
                let words = tile[2 * at..2 * (at + GROUP)].as_chunks::<2>().0;
                for (o, &w) in part.iter_mut().zip(words) {
                    *o = u16::from_le_bytes(w);
                }
            }
            Format::Bfp8 | Format::Bfp4 => {
                let group = face_row(row, half);
                let codes = group_codes(format, group, tile);
                for (o, &c) in part.iter_mut().zip(&codes) {
                    *o = code_bits(c, tile[group]);
                }
            }
        }
    }
    out
}

/// Row `row` of a tile as fp32 bits: raw for f32, widened for the others.
#[inline(always)]
pub(crate) fn unpack_row(format: Format, row: usize, tile: &[u8]) -> [u32; TILE] {
    if format != Format::F32 {
        return unpack_row_bf16(format, row, tile).map(|h| u32::from(h) << 16);
    }
    let mut out = [0u32; TILE];
    for half in 0..TILE / GROUP {
        let at = element_index(row, half * GROUP);
        let words = tile[4 * at..4 * (at + GROUP)].as_chunks::<4>().0;
        for (o, &w) in out[half * GROUP..].iter_mut().zip(words) {
            *o = u32::from_le_bytes(w);
        }
    }
    out
}

/// The value of a block-format code: `bits` is 8 or 4, `shared` the group's exponent.
pub fn block_value(code: u8, bits: u32, shared: u8) -> f32 {
    let code = if bits == 4 { widen_code(code) } else { code };
    widen(bf16::from_bits(code_bits(code, shared)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_mean_magnitude_times_a_power_of_two() {
        for shared in [20u8, 127, 200] {
            for code in 0..=255u8 {
                if code == 0x80 {
                    assert_eq!(block_value(code, 8, shared), f32::NEG_INFINITY);
                    continue;
                }
                let magnitude = f64::from(code & 127) * 2f64.powi(i32::from(shared) - 127 - 6);
                let want = if code > 127 { -magnitude } else { magnitude };
                assert_eq!(f64::from(block_value(code, 8, shared)), want);
            }
            assert_eq!(block_value(0xc, 4, 127), -1.0);
            assert_eq!(block_value(0x7, 4, 127), 1.75);
        }
    }

    #[test]
    fn exponents_wrap() {
        assert_eq!(code_bits(0x20, 0), 255 << 7);
    }
}
