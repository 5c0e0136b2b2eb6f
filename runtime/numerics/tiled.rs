//! A matrix as tiles: what a weight or an activation is in DRAM.
//!
//! Tiles are stored row of tiles by row of tiles; a partial tile at the right or lower edge is padded
//! with zeros. [`TiledView`] borrows the bytes, so a memory-mapped file serves as it lies.

use rayon::prelude::*;

use crate::error::{NumericsError, check_len};
use crate::format::{Format, TILE};
use crate::host_pack::pack_tile;
use crate::unpack::unpack_row;

/// A matrix of `rows` x `cols` in tiles of `format`, bytes owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tiled {
    format: Format,
    rows: usize,
    cols: usize,
    bytes: Vec<u8>,
}

/// A matrix of `rows` x `cols` in tiles of `format`, bytes borrowed.
#[derive(Debug, Clone, Copy)]
pub struct TiledView<'a> {
    format: Format,
    rows: usize,
    cols: usize,
    bytes: &'a [u8],
}

/// Bytes of a `rows` x `cols` matrix in tiles of `format`.
pub fn tiled_bytes(format: Format, rows: usize, cols: usize) -> usize {
    rows.div_ceil(TILE) * cols.div_ceil(TILE) * format.tile_bytes()
}

impl Tiled {
    /// All zeros.
    pub fn zeros(format: Format, rows: usize, cols: usize) -> Self {
        Tiled { format, rows, cols, bytes: vec![0; tiled_bytes(format, rows, cols)] }
    }

    /// Takes bytes as they lie in DRAM.
    ///
    /// # Errors
    /// [`NumericsError::Length`] if `bytes` is not [`tiled_bytes`] long.
    pub fn from_bytes(format: Format, rows: usize, cols: usize, bytes: Vec<u8>) -> Result<Self, NumericsError> {
        check_len("tiled matrix (bytes)", bytes.len(), tiled_bytes(format, rows, cols))?;
        Ok(Tiled { format, rows, cols, bytes })
    }

    /// Packs row-major f32 data of shape [rows, cols] as TT-NN packs it on the host.
    ///
    /// # Errors
    /// [`NumericsError::Length`] if `data` is not `rows * cols` long.
    pub fn pack(format: Format, rows: usize, cols: usize, data: &[f32]) -> Result<Self, NumericsError> {
        check_len("row-major matrix", data.len(), rows * cols)?;
        Ok(Self::pack_with(format, rows, cols, |r, c| data[r * cols + c]))
    }

    /// Packs the matrix whose element (row, column) `value` gives, as TT-NN packs it on the host.
    /// A transposed or permuted source needs no copy of itself that way.
    pub fn pack_with(format: Format, rows: usize, cols: usize, value: impl Fn(usize, usize) -> f32 + Sync) -> Self {
        let mut out = Self::zeros(format, rows, cols);
        let tiles_across = cols.div_ceil(TILE);
        out.bytes.par_chunks_mut(format.tile_bytes()).enumerate().for_each(|(t, tile)| {
            let (r0, c0) = (t / tiles_across * TILE, t % tiles_across * TILE);
            let mut values = [[0f32; TILE]; TILE];
            for (r, row) in values.iter_mut().enumerate().take(rows - r0) {
                for (c, v) in row.iter_mut().enumerate().take(cols - c0) {
                    *v = value(r0 + r, c0 + c);
                }
            }
            pack_tile(format, &values, tile);
        });
        out
    }

    /// The same matrix, borrowed.
    pub fn view(&self) -> TiledView<'_> {
        TiledView { format: self.format, rows: self.rows, cols: self.cols, bytes: &self.bytes }
    }

    /// Format of the tiles.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Logical rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Logical columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The bytes as they lie in DRAM.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Row-major f32 values, shape [rows, cols].
    pub fn to_f32(&self) -> Vec<f32> {
        self.view().to_f32()
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl<'a> TiledView<'a> {
    /// Borrows bytes as they lie in DRAM.
    ///
    /// # Errors
    /// [`NumericsError::Length`] if `bytes` is not [`tiled_bytes`] long.
    pub fn new(format: Format, rows: usize, cols: usize, bytes: &'a [u8]) -> Result<Self, NumericsError> {
        check_len("tiled matrix (bytes)", bytes.len(), tiled_bytes(format, rows, cols))?;
        Ok(TiledView { format, rows, cols, bytes })
    }

    /// Format of the tiles.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Logical rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Logical columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Tiles down and across.
    pub fn tiles(&self) -> (usize, usize) {
        (self.rows.div_ceil(TILE), self.cols.div_ceil(TILE))
    }

    /// Bytes of tile (down, across).
    pub fn tile(&self, down: usize, across: usize) -> &'a [u8] {
        let size = self.format.tile_bytes();
        let at = (down * self.tiles().1 + across) * size;
        &self.bytes[at..at + size]
    }

    /// Columns `32 * across ..` of row `row`, as fp32 bits.
    pub(crate) fn row_of_tile(&self, row: usize, across: usize) -> [u32; TILE] {
        unpack_row(self.format, row % TILE, self.tile(row / TILE, across))
    }

    /// Row-major f32 values, shape [rows, cols].
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0f32; self.rows * self.cols];
        if self.cols > 0 {
            out.par_chunks_mut(self.cols).enumerate().for_each(|(r, row)| self.read_row(r, row));
        }
        out
    }

    /// Row `row` into `out`, whose length is the number of columns wanted from the left.
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        for (across, part) in out.chunks_mut(TILE).enumerate() {
            let bits = self.row_of_tile(row, across);
            for (o, &b) in part.iter_mut().zip(&bits) {
                *o = f32::from_bits(b);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ragged_matrix_reads_back() -> Result<(), NumericsError> {
        let (rows, cols) = (70, 45);
        let data: Vec<f32> = (0..rows * cols).map(|i| (i % 91) as f32 - 45.0).collect();
        for format in [Format::F32, Format::Bf16, Format::Bfp8] {
            let tiled = Tiled::pack(format, rows, cols, &data)?;
            assert_eq!(tiled.to_f32(), data, "{format:?}");
        }
        let ternary: Vec<f32> = data.iter().map(|v| v.signum() * f32::from(*v != 0.0)).collect();
        assert_eq!(Tiled::pack(Format::Bfp4, rows, cols, &ternary)?.to_f32(), ternary);
        Ok(())
    }

    #[test]
    fn wrong_lengths_are_refused() {
        assert!(Tiled::pack(Format::F32, 3, 4, &[0.0; 11]).is_err());
        assert!(TiledView::new(Format::Bfp8, 32, 33, &[0; 1088]).is_err());
        assert!(Tiled::from_bytes(Format::Bfp8, 32, 33, vec![0; 2176]).is_ok());
    }
}
