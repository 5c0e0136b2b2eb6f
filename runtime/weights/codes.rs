//! Ternary matrices as two-bit codes: what [`bitnetc_plan::DType::Bfp2`] is in DRAM.
//!
//! Column of tiles by column of tiles, so that the tiles of one column are one run of bytes. A tile is 256 bytes, its four faces one after
//! another, row by row, four codes to a byte, the first in the low bits: 0 for 0, 1 for 1, 3 for -1.

use bitnetc_numerics::{TILE, TILE_ELEMS, element_index};
use rayon::prelude::*;

/// Bytes of a tile.
const TILE_BYTES: usize = TILE_ELEMS / 4;

/// A matrix `[rows, columns]` of codes.
#[derive(Debug, Clone, Copy)]
pub struct Codes<'a> {
    rows: usize,
    columns: usize,
    bytes: &'a [u8],
}

impl<'a> Codes<'a> {
    /// Codes as [`pack`] makes them; elements that are not there are 0.
    pub fn new(rows: usize, columns: usize, bytes: &'a [u8]) -> Self {
        Codes { rows, columns, bytes }
    }

    /// Element (`row`, `column`).
    #[inline]
    pub fn value(&self, row: usize, column: usize) -> f32 {
        let (byte, shift) = place(self.rows, row, column);
        match self.bytes.get(byte).map_or(0, |codes| codes >> shift & 3) {
            0 => 0.0,
            1 => 1.0,
            _ => -1.0,
        }
    }

    /// All elements, row-major.
    pub fn values(&self) -> Vec<f32> {
        (0..self.rows).flat_map(|row| (0..self.columns).map(move |column| self.value(row, column))).collect()
    }
}

/// The byte of an element, and where in it its code is.
#[inline]
fn place(rows: usize, row: usize, column: usize) -> (usize, usize) {
    let tile = column / TILE * rows.div_ceil(TILE) + row / TILE;
    let element = element_index(row % TILE, column % TILE);
    (tile * TILE_BYTES + element / 4, 2 * (element % 4))
}

/// The codes of the matrix whose element (row, column) `value` gives; zeros in the rest of the last tiles.
///
/// # Errors
/// The row and column of an element that is not -1, 0 or 1.
pub fn pack(
    rows: usize,
    columns: usize,
    value: impl Fn(usize, usize) -> f32 + Sync,
) -> Result<Vec<u8>, (usize, usize)> {
    let column_bytes = rows.div_ceil(TILE) * TILE_BYTES;
    let mut bytes = vec![0; columns.div_ceil(TILE) * column_bytes];
    bytes.par_chunks_mut(column_bytes.max(1)).enumerate().try_for_each(|(across, part)| {
        let first = across * TILE;
        for row in 0..rows {
            for column in first..columns.min(first + TILE) {
                let value = value(row, column);
                let code = match value {
                    0.0 => 0,
                    1.0 => 1,
                    -1.0 => 3,
                    _ => return Err((row, column)),
                };
                let (byte, shift) = place(rows, row, column - first);
                part[byte] |= code << shift;
            }
        }
        Ok(())
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(row: usize, column: usize) -> f32 {
        ((row * 7 + column * 13 + row * column) % 3) as f32 - 1.0
    }

    #[test]
    fn codes_read_back_and_lie_where_the_unpacker_reads_them() {
        let (rows, columns) = (64, 70);
        let bytes = pack(rows, columns, weight).unwrap();
        assert_eq!(bytes.len(), 3 * 2 * 256);
        let codes = Codes::new(rows, columns, &bytes);
        let values: Vec<f32> = (0..rows * columns).map(|i| weight(i / columns, i % columns)).collect();
        assert_eq!(codes.values(), values);
        // The second face row of the tile below the first one: elements 16 to 31 of its face, in bytes 4 to 7.
        let code = |v: f32| if v < 0.0 { 3 } else { v as u8 };
        let row: Vec<u8> = (0..4).map(|i| (0..4).map(|j| code(weight(33, 4 * i + j)) << (2 * j)).sum()).collect();
        assert_eq!(bytes[256 + 4..256 + 8], row);
    }

    #[test]
    fn other_numbers_are_refused_where_they_stand() {
        let two = |row, column| if (row, column) == (3, 33) { 2.0 } else { 1.0 };
        assert_eq!(pack(32, 64, two), Err((3, 33)));
    }
}
