//! Packing on the host: what TT-NN does when it builds a tensor from f32 data.
//!
//! Block formats: a group of 16 takes its largest biased exponent; each magnitude is shifted right to it
//! (truncating, no sticky bit), rounded to nearest even, saturated; the sign is kept only where the
//! magnitude is not 0. Values with exponent 0 are zeros. bf16 is rounded to nearest even.

use crate::format::{EXPONENTS, Format, GROUP, TILE, element_index, face_row};
use crate::rounding::bf16_host;

/// Packs a row-major 32x32 tile into `out`.
///
/// `rows[r]` is row `r` of the tile; `out` has [`Format::tile_bytes`] bytes, all of them are written.
pub(crate) fn pack_tile(format: Format, rows: &[[f32; TILE]; TILE], out: &mut [u8]) {
    match format {
        Format::F32 => each_element(rows, |i, v| {
            out[4 * i..4 * i + 4].copy_from_slice(&v.to_bits().to_le_bytes());
        }),
        Format::Bf16 => each_element(rows, |i, v| {
            out[2 * i..2 * i + 2].copy_from_slice(&bf16_host(v).to_bits().to_le_bytes());
        }),
        Format::Bfp8 | Format::Bfp4 => {
            for (r, row) in rows.iter().enumerate() {
                for half in 0..TILE / GROUP {
                    let mut group = [0f32; GROUP];
                    group.copy_from_slice(&row[half * GROUP..(half + 1) * GROUP]);
                    let bits = if format == Format::Bfp8 { 8 } else { 4 };
                    let (exponent, codes) = pack_group(&group, bits);
                    store_group(format, face_row(r, half), exponent, &codes, out);
                }
            }
        }
    }
}

fn each_element(rows: &[[f32; TILE]; TILE], mut f: impl FnMut(usize, f32)) {
    for (r, row) in rows.iter().enumerate() {
        for (c, &v) in row.iter().enumerate() {
            f(element_index(r, c), v);
        }
    }
}

/// Shared exponent and sign-magnitude codes of `bits` bits of one group.
pub(crate) fn pack_group(group: &[f32; GROUP], bits: u32) -> (u8, [u8; GROUP]) {
    let exponent_of = |v: f32| (v.to_bits() >> 23) & 255;
    let shared = group.iter().fold(0, |e, &v| e.max(exponent_of(v)));
    let shift = 24 - (bits - 1);
    let mut codes = [0u8; GROUP];
    for (code, &v) in codes.iter_mut().zip(group) {
        let (raw, exponent) = (v.to_bits(), exponent_of(v));
        let significand = if exponent == 0 { 0 } else { (raw & 0x7f_ffff) | 0x80_0000 };
        let aligned = significand.checked_shr(shared - exponent).unwrap_or(0);
        let half_even = (1 << (shift - 1)) - 1 + ((aligned >> shift) & 1);
        let magnitude = ((aligned + half_even) >> shift).min((1 << (bits - 1)) - 1);
        let sign = if magnitude == 0 { 0 } else { raw >> 31 };
        *code = (sign << (bits - 1) | magnitude) as u8;
    }
    (shared as u8, codes)
}

/// Writes one group into a block-format tile. `group` is its face row, 0..64.
pub(crate) fn store_group(format: Format, group: usize, exponent: u8, codes: &[u8; GROUP], out: &mut [u8]) {
    out[group] = exponent;
    if format == Format::Bfp8 {
        let at = EXPONENTS + group * GROUP;
        out[at..at + GROUP].copy_from_slice(codes);
    } else {
        let at = EXPONENTS + group * GROUP / 2;
        for (byte, pair) in out[at..at + GROUP / 2].iter_mut().zip(codes.as_chunks::<2>().0) {
            *byte = pair[0] | pair[1] << 4;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ternary_codes_are_the_hardware_s() {
        let mut group = [0f32; GROUP];
        group[0] = 1.0;
        group[1] = -1.0;
        let (e, codes) = pack_group(&group, 8);
        assert_eq!((e, codes[0], codes[1], codes[2]), (127, 0x40, 0xc0, 0));
        let (e, codes) = pack_group(&group, 4);
        assert_eq!((e, codes[0], codes[1], codes[2]), (127, 0x4, 0xc, 0));
    }

    #[test]
    fn small_magnitudes_lose_their_sign() {
        let mut group = [0f32; GROUP];
        group[0] = 1.0;
        group[1] = -1e-6;
        assert_eq!(pack_group(&group, 8).1[1], 0);
    }
}
