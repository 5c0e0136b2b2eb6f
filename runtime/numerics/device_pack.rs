//! Packing on the device: Dst to a tile in L1.
//!
//! Dst rows are fp32 bits; in a bf16 Dst the low 16 are zero. The block formats round twice: first to 6
//! fraction bits, then, after aligning to the shared exponent of the group, to 7 bits of magnitude;
//! bfp4 truncates that to 3. One row of 32 is packed at a time since groups run along rows.

use half::bf16;

use crate::format::{Format, GROUP, TILE, element_index, face_row};
use crate::host_pack::store_group;
use crate::rounding::{bf16_cleaned, bf16_packed, widen};
use crate::unpack::block_value;

/// Packs one row of Dst into row `row` of a tile.
pub(crate) fn pack_row(format: Format, fp32_dest: bool, row: usize, dst: &[u32; TILE], tile: &mut [u8]) {
    for half in 0..TILE / GROUP {
        let mut part = [0u32; GROUP];
        part.copy_from_slice(&dst[half * GROUP..(half + 1) * GROUP]);
        let at = element_index(row, half * GROUP);
        match format {
            Format::F32 => {
                for (o, &v) in tile[4 * at..].as_chunks_mut::<4>().0.iter_mut().zip(&part) {
                    *o = to_f32(v, fp32_dest).to_le_bytes();
                }
            }
            Format::Bf16 => {
                for (o, &v) in tile[2 * at..].as_chunks_mut::<2>().0.iter_mut().zip(&part) {
                    *o = to_bf16(v, fp32_dest).to_bits().to_le_bytes();
                }
            }
            Format::Bfp8 | Format::Bfp4 => {
                let (exponent, codes) = pack_group(&part, fp32_dest, format);
                store_group(format, face_row(row, half), exponent, &codes, tile);
            }
        }
    }
}

/// Dst bits packed as f32 bits: raw from an fp32 Dst, cleaned from a bf16 Dst.
#[inline]
pub(crate) fn to_f32(dst: u32, fp32_dest: bool) -> u32 {
    if fp32_dest { dst } else { u32::from(bf16_cleaned((dst >> 16) as u16).to_bits()) << 16 }
}

/// Dst bits packed as bf16.
#[inline]
pub(crate) fn to_bf16(dst: u32, fp32_dest: bool) -> bf16 {
    if fp32_dest { bf16_packed(dst) } else { bf16_cleaned((dst >> 16) as u16) }
}

/// Shared exponent and codes (in the format's own width) of one group of Dst bits.
pub(crate) fn pack_group(group: &[u32; GROUP], fp32_dest: bool, format: Format) -> (u8, [u8; GROUP]) {
    let bits = if format == Format::Bfp4 { 4 } else { 8 };
    let rounded = group.map(|v| {
        let h = if fp32_dest { (v >> 16) as u16 } else { bf16_cleaned((v >> 16) as u16).to_bits() };
        u32::from(h.wrapping_add(1) & !1)
    });
    let exponent_of = |h: u32| (h >> 7) & 255;
    let shared = rounded.iter().fold(0, |e, &h| e.max(exponent_of(h)));
    let codes = rounded.map(|h| {
        let shift = shared - exponent_of(h);
        let significand = if exponent_of(h) == 0 { 0 } else { 128 } | (h & 127);
        let aligned = if shift >= 8 { 0 } else { ((significand + (1 << shift)) >> (shift + 1)).min(127) };
        let magnitude = aligned >> (8 - bits);
        let sign = if magnitude == 0 { 0 } else { h >> 15 };
        (sign << (bits - 1) | magnitude) as u8
    });
    (shared as u8, codes)
}

/// Values as they read back after the packer has written them from an fp32 Dst: rounded to `format`, the block formats in groups of 16
/// counted from the first value (a last partial group is filled up with zeros).
pub fn through_packer(format: Format, values: &mut [f32]) {
    match format {
        Format::F32 => {}
        Format::Bf16 => values.iter_mut().for_each(|v| *v = widen(bf16_packed(v.to_bits()))),
        Format::Bfp8 | Format::Bfp4 => {
            for part in values.chunks_mut(GROUP) {
                let mut group = [0u32; GROUP];
                group.iter_mut().zip(&*part).for_each(|(g, v)| *g = v.to_bits());
                let (shared, codes) = pack_group(&group, true, format);
                let bits = if format == Format::Bfp4 { 4 } else { 8 };
                part.iter_mut().zip(codes).for_each(|(v, code)| *v = block_value(code, bits, shared));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unpack::unpack_row;

    #[test]
    fn integers_up_to_127_survive_bfp8() {
        let mut group = [0u32; GROUP];
        for (i, g) in group.iter_mut().enumerate() {
            *g = (i as f32 * 16.0 - 113.0).to_bits();
        }
        for fp32_dest in [false, true] {
            let (e, codes) = pack_group(&group, fp32_dest, Format::Bfp8);
            for (&g, &c) in group.iter().zip(&codes) {
                assert_eq!(block_value(c, 8, e), f32::from_bits(g));
            }
        }
    }

    #[test]
    fn bfp4_truncates_after_rounding_to_seven_bits() {
        // 1.9921875 rounds to 1.984375 | 2; group maximum 1.0 * 2 keeps exponent 128.
        let mut group = [0u32; GROUP];
        group[0] = 2f32.to_bits();
        group[1] = 1.75f32.to_bits();
        let (e, codes) = pack_group(&group, true, Format::Bfp4);
        assert_eq!((e, codes[0], codes[1]), (128, 4, 3));
    }

    #[test]
    fn a_row_reads_back() {
        let mut dst = [0u32; TILE];
        for (c, d) in dst.iter_mut().enumerate() {
            *d = ((c as f32 - 15.0) * 0.5).to_bits();
        }
        for format in [Format::F32, Format::Bf16, Format::Bfp8] {
            let mut tile = vec![0u8; format.tile_bytes()];
            pack_row(format, true, 17, &dst, &mut tile);
            assert_eq!(unpack_row(format, 17, &tile), dst, "{format:?}");
            assert_eq!(unpack_row(format, 16, &tile), [0; TILE]);
        }
    }

    #[test]
    fn through_the_packer_is_through_a_tile() {
        let mut row = [0f32; TILE];
        for (c, v) in row.iter_mut().enumerate() {
            *v = (c as f32 - 11.3) * 1.7f32.powi(c as i32 % 5);
        }
        for format in [Format::F32, Format::Bf16, Format::Bfp8, Format::Bfp4] {
            let mut tile = vec![0u8; format.tile_bytes()];
            pack_row(format, true, 3, &row.map(f32::to_bits), &mut tile);
            let mut got = row;
            through_packer(format, &mut got);
            assert_eq!(got, unpack_row(format, 3, &tile).map(f32::from_bits), "{format:?}");
        }
    }
}
