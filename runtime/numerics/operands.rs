//! Matmul operands, decoded once for the vectorised MVMUL.
//!
//! The activation (in0, SrcB) is decoded whole; a weight tile (in1, SrcA) is decoded when its turn comes.
//! A zero has exponent [`ZERO`]: far below every other, so that it is never the largest of its group and
//! is shifted out of every sum.

use half::bf16;
use rayon::prelude::*;

use crate::error::{NumericsError, check_len};
use crate::format::{Format, TILE};
use crate::mvmul::Src;
use crate::signs::{self, Group};
use crate::tiled::TiledView;
use crate::unpack::{unpack_row, unpack_row_bf16};

/// Stands for the exponent of a value that reads as zero.
pub(crate) const ZERO: i16 = -1024;

/// One activation: the bits of phases 0 and 1, and of phases 2 and 3, each doubled (the kernel rounds with
/// one more bit than it keeps); the exponent; 0 or -1 for the sign.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Activation {
    pub high: i16,
    pub low: i16,
    pub exponent: i16,
    pub sign: i16,
}

impl Activation {
    #[inline]
    pub fn from_bits(bits: u32) -> Self {
        let src = Src::from_bits(bits);
        Activation {
            high: 2 * src.b_bits(0) as i16,
            low: 2 * src.b_bits(2) as i16,
            exponent: if src.exponent == 0 { ZERO } else { src.exponent as i16 },
            sign: -i16::from(src.negative),
        }
    }

    /// A value that goes to SrcA, by rows of SrcB in a tile: the bits of even phases, and of odd phases, doubled.
    #[inline]
    pub fn of_src_a(bits: u32) -> Self {
        let src = Src::from_bits(bits);
        Activation { high: 2 * src.a_bits(0) as i16, low: 2 * src.a_bits(1) as i16, ..Self::from_bits(bits) }
    }
}

/// An activation matrix of shape [rows, k] as the FPU sees it. Its buffer is reused by every `load`.
#[derive(Debug, Clone, Default)]
pub struct SrcB {
    rows: usize,
    k: usize,
    padded_k: usize,
    values: Vec<Activation>,
    /// The same in groups, for ternary weights.
    groups: Vec<Group>,
    /// Rows that are not all zeros.
    live: Vec<bool>,
}

impl SrcB {
    /// Empty; `load` something before use.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rows of the matrix loaded last.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of the matrix loaded last.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Loads row-major bf16 values of shape [rows, k]. What a bfp8_b or bfp4_b tile holds is exact in
    /// bf16, so this serves for those too.
    ///
    /// # Errors
    /// [`NumericsError::Length`] if `data` is not `rows * k` long.
    pub fn load_bf16(&mut self, rows: usize, k: usize, data: &[bf16]) -> Result<(), NumericsError> {
        check_len("activation", data.len(), rows * k)?;
        self.load_rows(rows, k, |r, row| {
            for (o, &h) in row.iter_mut().zip(&data[r * k..(r + 1) * k]) {
                *o = Activation::from_bits(u32::from(h.to_bits()) << 16);
            }
        });
        Ok(())
    }

    /// Loads row-major f32 values of shape [rows, k], truncated to TF32 as the unpacker does.
    ///
    /// # Errors
    /// [`NumericsError::Length`] if `data` is not `rows * k` long.
    pub fn load_f32(&mut self, rows: usize, k: usize, data: &[f32]) -> Result<(), NumericsError> {
        check_len("activation", data.len(), rows * k)?;
        self.load_rows(rows, k, |r, row| {
            for (o, &v) in row.iter_mut().zip(&data[r * k..(r + 1) * k]) {
                *o = Activation::from_bits(v.to_bits());
            }
        });
        Ok(())
    }

    /// Activations of k-tile `kt` of row `row`, padded with zeros to whole tiles.
    pub(crate) fn tile_of(&self, row: usize, kt: usize) -> &[Activation; TILE] {
        &self.values.as_chunks::<TILE>().0[row * self.padded_k / TILE + kt]
    }

    /// The same in groups.
    pub(crate) fn groups_of(&self, row: usize, kt: usize) -> &[Group; TILE / signs::GROUP] {
        &self.groups.as_chunks().0[row * self.padded_k / TILE + kt]
    }

    /// False of a row of zeros.
    pub(crate) fn is_live(&self, row: usize) -> bool {
        self.live[row]
    }

    fn load_rows(&mut self, rows: usize, k: usize, fill: impl Fn(usize, &mut [Activation]) + Sync) {
        (self.rows, self.k, self.padded_k) = (rows, k, k.next_multiple_of(TILE));
        self.values.resize(rows * self.padded_k, Activation::default());
        self.groups.resize(rows * self.padded_k / signs::GROUP, Group::default());
        self.live.resize(rows, false);
        if self.padded_k > 0 {
            let values = self.values.par_chunks_mut(self.padded_k);
            let rows = values.zip(self.groups.par_chunks_mut(self.padded_k / signs::GROUP)).zip(&mut self.live);
            rows.enumerate().for_each(|(r, ((row, groups), live))| {
                fill(r, &mut row[..k]);
                row[k..].fill(Activation { exponent: ZERO, ..Activation::default() });
                groups.iter_mut().zip(row.as_chunks().0).for_each(|(group, x)| *group = Group::of(x));
                *live = groups.iter().any(|group| group.largest != ZERO);
            });
        }
    }
}

/// A weight tile [32 k, 32 n] as the FPU sees it, lanes along n.
#[derive(Debug, Clone)]
#[repr(align(64))]
pub(crate) struct SrcATile {
    /// The bits of even phases, then of odd phases.
    pub bits: [[[i16; TILE]; TILE]; 2],
    pub exponent: [[i16; TILE]; TILE],
    /// 0 or -1.
    pub sign: [[i16; TILE]; TILE],
    /// Bit n of word k: the sign of weight [k, n]. Kept by the AVX-512 kernel alone.
    pub negative: [u32; TILE],
}

impl SrcATile {
    pub fn zeroed() -> Self {
        SrcATile {
            bits: [[[0; TILE]; TILE]; 2],
            exponent: [[ZERO; TILE]; TILE],
            sign: [[0; TILE]; TILE],
            negative: [0; TILE],
        }
    }

    /// Decodes the tile whose row k holds the fp32 bits `rows(k)`, for every instruction set.
    #[inline(always)]
    pub fn set(&mut self, rows: impl Fn(usize) -> [u32; TILE]) {
        for k in 0..TILE {
            let row = rows(k);
            self.set_row(k, row.map(|b| (b >> 16) as u16), row.map(|b| (b >> 13 & 7) as u16));
            self.negative[k] = row.iter().enumerate().fold(0, |mask, (n, b)| mask | (b >> 31) << n);
        }
    }

    /// Takes 32 rows of SrcB in place of columns of SrcA: number k of each is in the fp32 bits `rows(k)`.
    #[inline(always)]
    pub fn set_activations(&mut self, rows: impl Fn(usize) -> [u32; TILE]) {
        for k in 0..TILE {
            let row = rows(k);
            for n in 0..TILE {
                let (exponent, significand) = ((row[n] >> 23 & 255) as i16, 1024 | row[n] >> 13 & 1023);
                self.exponent[k][n] = if exponent == 0 { ZERO } else { exponent };
                self.bits[0][k][n] = (significand >> 4) as i16;
                self.bits[1][k][n] = ((significand & 15) << 3) as i16;
                self.sign[k][n] = (row[n] as i32 >> 31) as i16;
            }
            self.negative[k] = row.iter().enumerate().fold(0, |mask, (n, b)| mask | (b >> 31) << n);
        }
    }

    /// Decodes tile (down, across) of `weights`; `negative` is left as it is.
    #[inline(always)]
    pub fn load(&mut self, weights: TiledView<'_>, down: usize, across: usize) {
        let tile = weights.tile(down, across);
        // A match outside the loop lets the format's branch be decided once.
        match weights.format() {
            Format::F32 => {
                for k in 0..TILE {
                    let row = unpack_row(Format::F32, k, tile);
                    self.set_row(k, row.map(|b| (b >> 16) as u16), row.map(|b| (b >> 13 & 7) as u16));
                }
            }
            Format::Bf16 => self.load_bf16(Format::Bf16, tile),
            Format::Bfp8 => self.load_bf16(Format::Bfp8, tile),
            Format::Bfp4 => self.load_bf16(Format::Bfp4, tile),
        }
    }

    #[inline(always)]
    fn load_bf16(&mut self, format: Format, tile: &[u8]) {
        for k in 0..TILE {
            self.set_row(k, unpack_row_bf16(format, k, tile), [0; TILE]);
        }
    }

    /// Row k from bf16 bits and the 3 fraction bits that TF32 has below them.
    #[inline(always)]
    fn set_row(&mut self, k: usize, row: [u16; TILE], below: [u16; TILE]) {
        for n in 0..TILE {
            let h = row[n];
            let exponent = (h >> 7 & 255) as i16;
            self.exponent[k][n] = if exponent == 0 { ZERO } else { exponent };
            self.bits[0][k][n] = (16 | h >> 3 & 15) as i16;
            self.bits[1][k][n] = ((h & 7) << 2 | below[n] >> 1) as i16;
            self.sign[k][n] = h as i16 >> 15;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiled::Tiled;

    #[test]
    fn the_decoded_bits_are_those_of_the_phases() -> Result<(), NumericsError> {
        let data: Vec<f32> = (0..1024).map(|i| f32::from_bits(0x3000_0000 + i * 0x0012_3457) * 1e3 - 0.5).collect();
        let tiled = Tiled::pack(Format::F32, 32, 32, &data)?;
        let mut tile = SrcATile::zeroed();
        tile.load(tiled.view(), 0, 0);
        let mut b = SrcB::new();
        b.load_f32(32, 32, &data)?;
        for (i, &v) in data.iter().enumerate() {
            let (r, c) = (i / 32, i % 32);
            let src = Src::from_bits(v.to_bits());
            assert_eq!(tile.bits[0][r][c] as u32, src.a_bits(0));
            assert_eq!(tile.bits[1][r][c] as u32, src.a_bits(1));
            assert_eq!(tile.sign[r][c] == -1, src.negative);
            let x = b.tile_of(r, 0)[c];
            assert_eq!(x.high as u32, 2 * src.b_bits(0));
            assert_eq!(x.low as u32, 2 * src.b_bits(2));
            assert_eq!(x.sign == -1, src.negative);
        }
        Ok(())
    }
}
