//! A weight's bytes as they lie in the card's DRAM: rounded as TT-NN's host code rounds, tiled, row of tiles by row of tiles.
//!
//! The padding to whole DRAM banks is left to TT-NN, which adds it when it places the tensor.

use bitnetc_numerics::{Format, Tiled, bf16_host};
use bitnetc_plan::{DType, Layout, TILE, Weight};

use super::source::Tensor;
use super::{WeightError, codes};

/// The numerics' name of a float data type; `None` for integers. Two-bit codes are unpacked to the same bits as bfp4's of the same numbers, so
/// that the numerics know these.
pub fn format_of(dtype: DType) -> Option<Format> {
    match dtype {
        DType::Bf16 => Some(Format::Bf16),
        DType::Bfp8 => Some(Format::Bfp8),
        DType::Bfp4 | DType::Bfp2 => Some(Format::Bfp4),
        DType::F32 => Some(Format::F32),
        DType::U32 | DType::I32 | DType::U16 => None,
    }
}

impl Tensor<'_> {
    /// True when every element is -1, 0 or 1 by construction.
    pub fn is_ternary(&self) -> bool {
        match self {
            Tensor::Matrix(m) => m.is_ternary(),
            Tensor::Tiled(tiles) => tiles.ternary,
            Tensor::Codes(_) => true,
            Tensor::Rows(_) | Tensor::Dense(_) => false,
        }
    }

    /// The tensor in tiles of its weight's data type.
    ///
    /// # Errors
    /// A spec that is no float, or whose planes are not whole tiles.
    pub fn tiled(&self, weight: &Weight) -> Result<Tiled, WeightError> {
        let spec = &weight.spec;
        let disagree = |why: String| WeightError::Plan { weight: weight.name.clone(), why };
        let format =
            format_of(spec.dtype).ok_or_else(|| disagree(format!("data type {} holds no weight", spec.dtype)))?;
        if spec.outer() > 1 && !spec.rows().is_multiple_of(TILE) {
            return Err(disagree(format!("{:?} has planes of partial tiles", spec.shape)));
        }
        let (rows, columns) = (spec.outer() as usize * spec.rows() as usize, spec.columns() as usize);
        let wrong = |e: bitnetc_numerics::NumericsError| disagree(e.to_string());
        match self {
            Tensor::Matrix(m) => Ok(Tiled::pack_with(format, rows, columns, |r, c| m.value(r, c))),
            Tensor::Codes(codes) => Ok(Tiled::pack_with(format, rows, columns, |r, c| codes.value(r, c))),
            Tensor::Dense(values) => Tiled::pack(format, rows, columns, values).map_err(wrong),
            Tensor::Tiled(tiles) => Tiled::from_bytes(format, rows, columns, tiles.bytes.to_vec()).map_err(wrong),
            Tensor::Rows(_) => Tiled::pack(format, rows, columns, &self.values()).map_err(wrong),
        }
    }

    /// All elements, row-major.
    pub fn values(&self) -> Vec<f32> {
        match self {
            Tensor::Matrix(m) => (0..m.k()).flat_map(|k| (0..m.n()).map(move |n| m.value(k, n))).collect(),
            Tensor::Codes(codes) => codes.values(),
            Tensor::Rows(m) => {
                let mut values = vec![0.0; m.rows() * m.columns()];
                values.chunks_mut(m.columns()).enumerate().for_each(|(r, row)| m.read_row(r, row));
                values
            }
            Tensor::Dense(values) => values.clone(),
            Tensor::Tiled(tiles) => tiles.view.to_f32(),
        }
    }

    /// All bytes, in the layout of the weight's spec.
    ///
    /// # Errors
    /// A spec that holds no such tensor.
    pub fn bytes(&self, weight: &Weight) -> Result<Vec<u8>, WeightError> {
        let spec = &weight.spec;
        if let (DType::Bfp2, Tensor::Matrix(m)) = (spec.dtype, self) {
            return codes::pack(spec.rows() as usize, spec.columns() as usize, |r, c| m.value(r, c)).map_err(
                |(row, column)| WeightError::Plan {
                    weight: weight.name.clone(),
                    why: format!("element [{row}, {column}] is not -1, 0 or 1, which two bits hold"),
                },
            );
        }
        if spec.layout == Layout::Tile {
            return Ok(self.tiled(weight)?.bytes().to_vec());
        }
        let narrow = |v: &f32| bf16_host(*v).to_le_bytes();
        match (spec.dtype, self) {
            (DType::Bf16, Tensor::Rows(m)) => {
                let mut row = vec![0.0; m.columns()];
                let mut bytes = Vec::with_capacity(2 * m.rows() * m.columns());
                for r in 0..m.rows() {
                    m.read_row(r, &mut row);
                    bytes.extend(row.iter().flat_map(narrow));
                }
                Ok(bytes)
            }
            (DType::Bf16, _) => Ok(self.values().iter().flat_map(narrow).collect()),
            (DType::F32, _) => Ok(self.values().iter().flat_map(|v| v.to_le_bytes()).collect()),
            (other, _) => Err(WeightError::Plan {
                weight: weight.name.clone(),
                why: format!("a row-major weight is bf16 or f32, not {other}"),
            }),
        }
    }
}

/// Bytes that [`Tensor::bytes`] makes of a spec; `None` where it makes none: more than can be counted, or a block format in row-major
/// layout.
pub fn byte_len(spec: &bitnetc_plan::TensorSpec) -> Option<u64> {
    let spec = spec.stored();
    let inner = spec.shape.len().saturating_sub(2);
    let units = |(at, &d): (usize, &u32)| match spec.layout {
        Layout::Tile if at >= inner => u64::from(d.div_ceil(TILE)),
        Layout::Tile | Layout::RowMajor => u64::from(d),
    };
    let bytes = match spec.layout {
        Layout::RowMajor => spec.dtype.element_bytes()?,
        Layout::Tile => spec.dtype.tile_bytes(),
    };
    spec.shape.iter().enumerate().map(units).try_fold(bytes, u64::checked_mul)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::testing::{TestTensor, matrix, pack, vector, weight, write_checkpoint};
    use crate::weights::{Checkpoint, source};
    use bitnetc_plan::weight::{Content, Source, Vector};
    use bitnetc_plan::{MemoryConfig, TensorSpec};

    #[test]
    fn a_ternary_matrix_tiles_to_the_hardwares_codes() {
        let rows: Vec<i8> = (0..64 * 32).map(|i| (i % 3) as i8 - 1).collect();
        let dir = write_checkpoint(&[TestTensor::u8("w.weight", &[16, 32], pack(&rows, 64, 32))]);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let mut w = weight(
            &[1, 1, 32, 64],
            Source::Columns(vec![matrix("w.weight", [64, 32], Content::Packed { divides: false })]),
        );
        w.spec = TensorSpec::tile([1, 1, 32, 64], DType::Bfp4, MemoryConfig::DRAM);
        let tensor = source::open(&checkpoint, &w, 0).unwrap();
        let bytes = tensor.bytes(&w).unwrap();
        assert_eq!(Some(bytes.len() as u64), byte_len(&w.spec));
        assert_eq!(bytes.len(), 2 * 576);
        assert!(bytes[..64].iter().all(|&e| e == 127));
        // Element [k, n] of the tile is row n, column k of the checkpoint.
        let code = |v: i8| [0xc, 0x0, 0x4][(v + 1) as usize];
        assert_eq!(bytes[64] & 15, code(rows[0]));
        assert_eq!(bytes[64] >> 4, code(rows[32]));
        assert_eq!(bytes[64 + 8] & 15, code(rows[1]));
    }

    #[test]
    fn a_row_major_vector_is_bf16() {
        let dir = write_checkpoint(&[TestTensor::f32("n", &[32], &[1.0; 32])]);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let source = Source::Vectors(vec![Vector { factor: 2.0, ..vector("n", 32) }]);
        let mut w = weight(&[1, 1, 1, 32], source);
        w.spec = TensorSpec::row_major([1, 1, 1, 32], DType::Bf16, MemoryConfig::DRAM);
        let bytes = source::open(&checkpoint, &w, 0).unwrap().bytes(&w).unwrap();
        assert_eq!(bytes, [0x00, 0x40].repeat(32));
        assert_eq!(byte_len(&w.spec), Some(64));
    }

    #[test]
    fn the_length_of_what_cannot_be_is_none() {
        let huge = [u32::MAX; 4];
        assert_eq!(byte_len(&TensorSpec::tile(huge, DType::Bfp8, MemoryConfig::DRAM)), None);
        assert_eq!(byte_len(&TensorSpec::row_major(huge, DType::Bf16, MemoryConfig::DRAM)), None);
        assert_eq!(byte_len(&TensorSpec::row_major([1, 1, 32, 32], DType::Bfp4, MemoryConfig::DRAM)), None);
        assert_eq!(byte_len(&TensorSpec::tile([3, 1, 33, 65], DType::Bfp4, MemoryConfig::DRAM)), Some(3 * 2 * 3 * 576));
    }
}
