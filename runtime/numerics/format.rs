//! The data formats of a tile and the geometry of a 32x32 tile.
//!
//! A tile is four 16x16 faces: f0 holds rows 0-15 and columns 0-15, f1 columns 16-31 of the same rows,
//! f2 and f3 the lower half. Inside a face elements run along rows. The block formats (bfp8_b, bfp4_b)
//! begin with 64 shared exponents, one per face row of 16 elements, at `face * 16 + row`; the sign and
//! magnitude codes follow, lowest element in the low bits.

/// Rows, and columns, of a tile.
pub const TILE: usize = 32;
/// Elements of a tile.
pub const TILE_ELEMS: usize = TILE * TILE;
/// Elements that share one exponent in a block format: a face row.
pub const GROUP: usize = 16;
/// Shared exponents of a tile in a block format.
pub const EXPONENTS: usize = TILE_ELEMS / GROUP;

/// Storage format of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// IEEE binary32, 4096 bytes a tile.
    F32,
    /// bfloat16, 2048 bytes a tile.
    Bf16,
    /// Block float: 8-bit codes (sign and 7 bits of magnitude), 1088 bytes a tile.
    Bfp8,
    /// Block float: 4-bit codes (sign and 3 bits of magnitude), 576 bytes a tile.
    Bfp4,
}

impl Format {
    /// Bytes of one tile.
    pub const fn tile_bytes(self) -> usize {
        match self {
            Format::F32 => 4 * TILE_ELEMS,
            Format::Bf16 => 2 * TILE_ELEMS,
            Format::Bfp8 => EXPONENTS + TILE_ELEMS,
            Format::Bfp4 => EXPONENTS + TILE_ELEMS / 2,
        }
    }

    /// Bits of a code in a block format, sign included; `None` for the others.
    pub const fn code_bits(self) -> Option<u32> {
        match self {
            Format::Bfp8 => Some(8),
            Format::Bfp4 => Some(4),
            Format::F32 | Format::Bf16 => None,
        }
    }
}

/// Where element (row, column) of a tile lies in face order.
#[inline]
pub const fn element_index(row: usize, col: usize) -> usize {
    face_row(row, col / GROUP) * GROUP + col % GROUP
}

/// Which group of 16 holds columns `16 * half ..` of `row`: also the index of its shared exponent.
#[inline]
pub const fn face_row(row: usize, half: usize) -> usize {
    (2 * (row / GROUP) + half) * GROUP + row % GROUP
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faces_are_in_order() {
        assert_eq!(element_index(0, 15), 15);
        assert_eq!(element_index(0, 16), 256);
        assert_eq!(element_index(16, 0), 512);
        assert_eq!(element_index(31, 31), 1023);
        let mut seen = [false; TILE_ELEMS];
        for r in 0..TILE {
            for c in 0..TILE {
                assert!(!std::mem::replace(&mut seen[element_index(r, c)], true));
            }
        }
    }

    #[test]
    fn tile_sizes_are_the_hardware_s() {
        let bytes = [Format::F32, Format::Bf16, Format::Bfp8, Format::Bfp4].map(Format::tile_bytes);
        assert_eq!(bytes, [4096, 2048, 1088, 576]);
    }
}
