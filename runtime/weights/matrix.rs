//! One stored matrix `[out, in]` of a checkpoint, read as the plan's [`Content`] says.
//!
//! - packed: `uint8 [ceil(out/4), in]`; bits `2i..2i+2` of stored row `r` hold row `r + i * ceil(out/4)`, plus 1. The layout of
//!   microsoft/bitnet-b1.58-2B-4T and of Hugging Face's `pack_weights`.
//! - packed, but stored as floats `[out, in]`: every element is 0 or one number with either sign, usually 1, which the scale is multiplied
//!   by. transformers writes a loaded packed checkpoint so, and reads it so where the scale multiplies.
//! - absmean: float master weights, `clamp(round(w * s), -1, 1)` with `s = 1 / max(mean|w|, 1e-5)` over the whole stored tensor, in f32
//!   and to even, as Hugging Face's `WeightQuant`; the scale of the output is `1 / s`. (`WeightQuant` rounds its result to the data type
//!   of the weights, and so the scale: in a run in f32 it does not.)
//! - dense: floats as they are.
//!
//! A GGUF file has ternary codes and their scale in blocks of its own, or floats that are 0 or one number with either sign. Either serves
//! where packed or master weights are wanted: it is what was made of them.

use bitnetc_plan::weight::{Content, Matrix};

use super::checkpoint::{Checkpoint, Stored, paired};
use super::floats::Dtype;
use super::gguf::Blocks;
use super::{WeightError, floats, in_layer};

/// Smallest mean that absmean divides by.
const SMALLEST_MEAN: f32 = 1e-5;

/// A stored matrix, ready to be read row by row.
#[derive(Debug, Clone, Copy)]
pub struct StoredMatrix<'a> {
    data: &'a [u8],
    kind: Kind,
    columns: usize,
    first_row: usize,
    /// Rows of a head, when its halves are stored interleaved.
    pairs: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Packed { stored_rows: usize },
    Signs { dtype: Dtype },
    Blocks(Blocks),
    Absmean { dtype: Dtype, factor: f32 },
    Float { dtype: Dtype },
}

impl<'a> StoredMatrix<'a> {
    /// Finds the matrix in a checkpoint and checks its shape and data type, not its elements.
    ///
    /// # Errors
    /// Missing, of another shape or data type.
    pub fn header(checkpoint: &'a Checkpoint, matrix: &Matrix, layer: u32) -> Result<Stored<'a>, WeightError> {
        let name = in_layer(&matrix.tensor, layer);
        let stored = checkpoint
            .find(&name)
            .ok_or_else(|| WeightError::Missing { tensor: name, path: checkpoint.dir().into() })?;
        let [used, columns] = matrix.shape.map(|d| d as usize);
        let (first, end) = matrix.rows.map_or((0, used), |(a, b)| (a as usize, b as usize));
        if end.checked_sub(first) != Some(used) {
            return Err(stored.bad(format!("the plan takes rows {first}..{end} of it for a matrix of {used} rows")));
        }
        let takes_floats = checkpoint.scales_within() || matrix.content == Content::Packed { divides: false };
        let unpacked = matches!(matrix.content, Content::Packed { .. }) && stored.dtype != Dtype::U8 && takes_floats;
        let packed = matches!(matrix.content, Content::Packed { .. }) && !unpacked;
        let least = if packed { end.div_ceil(4) } else { end };
        // A part of a fused tensor can only bound the rows of the whole.
        let shape_fits = match *stored.shape {
            [rows, c] => c == columns && if matrix.rows.is_some() { rows >= least } else { rows == least },
            _ => false,
        };
        if packed && stored.dtype != Dtype::U8 {
            return Err(stored.wrong_dtype("uint8, four ternary rows per stored row"));
        }
        if !packed && (blocks(&stored).is_none() || matrix.content == Content::Dense) {
            stored.expect_float()?;
        }
        if !shape_fits {
            let more = if matrix.rows.is_some() { " or more rows" } else { "" };
            let packed = if unpacked { format!(", or uint8 [{}, {columns}]", end.div_ceil(4)) } else { String::new() };
            return Err(stored.wrong_shape(format!("[{least}, {columns}]{more}{packed}")));
        }
        Ok(stored)
    }

    /// Finds the matrix and checks its elements too.
    ///
    /// # Errors
    /// As [`StoredMatrix::header`]; a packed code that is not ternary, a float that is no number.
    pub fn open(checkpoint: &'a Checkpoint, matrix: &Matrix, layer: u32) -> Result<Self, WeightError> {
        let stored = Self::header(checkpoint, matrix, layer)?;
        let [rows, columns] = matrix.shape.map(|d| d as usize);
        let first_row = matrix.rows.map_or(0, |(first, _)| first as usize);
        let kind = match matrix.content {
            Content::Packed { .. } | Content::Absmean if holds_ternary(checkpoint, &stored, matrix) => {
                unit(&stored)?;
                blocks(&stored).map_or(Kind::Signs { dtype: stored.dtype }, Kind::Blocks)
            }
            Content::Packed { .. } => {
                // Both bits of a pair set: the code 3, which stands for nothing.
                if let Some(at) = stored.data.iter().position(|b| b & (b >> 1) & 0x55 != 0) {
                    return Err(stored.bad(format!("byte {at} holds the code 3; ternary codes are 0, 1 and 2")));
                }
                Kind::Packed { stored_rows: stored.shape[0] }
            }
            Content::Absmean => Kind::Absmean { dtype: stored.dtype, factor: absmean(&stored)? },
            Content::Dense => {
                stored.expect_finite(first_row * columns..(first_row + rows) * columns)?;
                Kind::Float { dtype: stored.dtype }
            }
        };
        Ok(StoredMatrix { data: stored.data, kind, columns, first_row, pairs: stored.pairs() })
    }

    /// True when every element is -1, 0 or 1.
    pub fn is_ternary(&self) -> bool {
        !matches!(self.kind, Kind::Float { .. })
    }

    /// Length of a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Element (`row`, `column`), counted from the first row used.
    #[inline]
    pub fn value(&self, row: usize, column: usize) -> f32 {
        let row = self.stored_row(row);
        match self.kind {
            Kind::Packed { stored_rows } => {
                let byte = self.data[row % stored_rows * self.columns + column];
                f32::from((byte >> (2 * (row / stored_rows)) & 3) as i8 - 1)
            }
            Kind::Signs { dtype } => sign(self.float(dtype, row, column)),
            Kind::Blocks(blocks) => f32::from(blocks.ternary(self.data, row * self.columns + column)),
            Kind::Absmean { dtype, factor } => ternary(self.float(dtype, row, column), factor),
            Kind::Float { dtype } => self.float(dtype, row, column),
        }
    }

    /// Row `row` as ternary numbers; `out` has [`StoredMatrix::columns`] elements. Zeros for a matrix that is not ternary.
    pub fn ternary_row(&self, row: usize, out: &mut [i8]) {
        let at = self.stored_row(row);
        match self.kind {
            Kind::Packed { stored_rows } => {
                let (start, shift) = (at % stored_rows * self.columns, 2 * (at / stored_rows));
                let bytes = &self.data[start..start + self.columns];
                out.iter_mut().zip(bytes).for_each(|(o, b)| *o = (b >> shift & 3) as i8 - 1);
            }
            Kind::Signs { dtype } => {
                out.iter_mut().enumerate().for_each(|(c, o)| *o = sign(self.float(dtype, at, c)) as i8)
            }
            Kind::Blocks(blocks) => {
                let first = at * self.columns;
                out.iter_mut().enumerate().for_each(|(c, o)| *o = blocks.ternary(self.data, first + c))
            }
            Kind::Absmean { dtype, factor } => {
                out.iter_mut().enumerate().for_each(|(c, o)| *o = ternary(self.float(dtype, at, c), factor) as i8)
            }
            Kind::Float { .. } => out.fill(0),
        }
    }

    /// Where row `row`, counted from the first row used, is stored.
    #[inline]
    fn stored_row(&self, row: usize) -> usize {
        let row = row + self.first_row;
        self.pairs.map_or(row, |head| paired(row, head))
    }

    #[inline]
    fn float(&self, dtype: Dtype, row: usize, column: usize) -> f32 {
        floats::at(dtype, self.data, row * self.columns + column)
    }
}

fn ternary(w: f32, factor: f32) -> f32 {
    (w * factor).round_ties_even().clamp(-1.0, 1.0)
}

/// -1, 0 or 1.
fn sign(w: f32) -> f32 {
    if w == 0.0 { 0.0 } else { w.signum() }
}

/// The type of ternary blocks.
fn blocks(stored: &Stored<'_>) -> Option<Blocks> {
    match stored.dtype {
        Dtype::Blocks(blocks) if blocks.is_ternary() => Some(blocks),
        Dtype::Blocks(_) | Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::U8 | Dtype::Other(_) => None,
    }
}

/// True when the elements are 0 or one number with either sign, as they lie there or decoded from blocks.
fn holds_ternary(checkpoint: &Checkpoint, stored: &Stored<'_>, matrix: &Matrix) -> bool {
    match matrix.content {
        Content::Packed { .. } => stored.dtype != Dtype::U8,
        Content::Absmean => checkpoint.scales_within(),
        Content::Dense => false,
    }
}

/// The one magnitude of a matrix whose elements are 0 or that number with either sign; 1 when all are 0.
fn unit(stored: &Stored<'_>) -> Result<f32, WeightError> {
    if let Some(blocks) = blocks(stored) {
        return blocks.scale(stored.data).map_err(|why| stored.bad(why));
    }
    let (mut unit, mut other) = (0f32, None);
    stored.floats(0..stored.len(), |w| match w.abs() {
        0.0 => {}
        size if unit == 0.0 => unit = size,
        size if size == unit => {}
        size => other = Some(size),
    })?;
    match other {
        Some(other) => Err(stored.bad(format!(
            "holds {unit} and {other}, so it is not ternary as the model says: master weights, or quantised otherwise"
        ))),
        None if unit.is_finite() => Ok(if unit == 0.0 { 1.0 } else { unit }),
        None => Err(stored.bad("holds infinities or NaN".into())),
    }
}

/// The factor by which absmean multiplies the elements of a whole stored tensor.
fn absmean(stored: &Stored<'_>) -> Result<f32, WeightError> {
    let mut sum = 0f64;
    stored.floats(0..stored.len(), |w| sum += f64::from(w.abs()))?;
    let mean = sum / stored.len().max(1) as f64;
    if !mean.is_finite() {
        return Err(stored.bad("holds infinities or NaN".into()));
    }
    Ok(1.0 / (mean as f32).max(SMALLEST_MEAN))
}

/// The number that multiplies `x @ ternary^T` to give the output of a ternary matrix.
///
/// # Errors
/// A missing or malformed scale tensor, a scale that is not a positive number.
pub fn scale(checkpoint: &Checkpoint, matrix: &Matrix, layer: u32) -> Result<f64, WeightError> {
    let weights = StoredMatrix::header(checkpoint, matrix, layer)?;
    let divides = match matrix.content {
        Content::Dense => return Ok(1.0),
        Content::Packed { .. } | Content::Absmean if checkpoint.scales_within() => false,
        Content::Absmean => return Ok(f64::from(1.0 / absmean(&weights)?)),
        Content::Packed { divides } => divides,
    };
    let name = format!("{}_scale", in_layer(&matrix.tensor, layer));
    if checkpoint.scales_within() && checkpoint.find(&name).is_none() {
        return Ok(f64::from(unit(&weights)?));
    }
    let stored = checkpoint.tensor(&name)?;
    if stored.len() != 1 {
        return Err(stored.wrong_shape("[1]".into()));
    }
    let mut scale = 0f64;
    stored.floats(0..1, |s| scale = f64::from(s))?;
    if !(scale.is_finite() && scale > 0.0) {
        return Err(stored.bad(format!("the scale is {scale}; it must be a positive number")));
    }
    if weights.dtype != Dtype::U8 {
        scale *= f64::from(unit(&weights)?);
    }
    Ok(if divides { 1.0 / scale } else { scale })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::testing::{TestTensor, matrix, pack, write_checkpoint};

    #[test]
    fn packed_rows_come_back() {
        let rows: Vec<i8> = (0..7 * 3).map(|i| (i * 5 % 3) as i8 - 1).collect();
        let dir = write_checkpoint(&[TestTensor::u8("w.weight", &[2, 3], pack(&rows, 7, 3))]);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let m = matrix("w.weight", [7, 3], Content::Packed { divides: false });
        let stored = StoredMatrix::open(&checkpoint, &m, 0).unwrap();
        let mut row = [0i8; 3];
        for r in 0..7 {
            stored.ternary_row(r, &mut row);
            assert_eq!(row, rows[3 * r..3 * r + 3]);
            assert_eq!(stored.value(r, 1), f32::from(row[1]));
        }
    }

    #[test]
    fn the_code_3_is_refused() {
        let dir = write_checkpoint(&[TestTensor::u8("w.weight", &[1, 2], vec![0x55, 0x5d])]);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let m = matrix("w.weight", [4, 2], Content::Packed { divides: false });
        let error = StoredMatrix::open(&checkpoint, &m, 0).unwrap_err().to_string();
        assert!(error.contains("byte 1") && error.contains("w.weight"), "{error}");
    }

    #[test]
    fn master_weights_are_quantised_by_their_mean() {
        let w = [0.5f32, -0.1, 0.9, -1.5];
        let dir = write_checkpoint(&[TestTensor::f32("w.weight", &[2, 2], &w)]);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let m = matrix("w.weight", [2, 2], Content::Absmean);
        let stored = StoredMatrix::open(&checkpoint, &m, 0).unwrap();
        let got: Vec<f32> = (0..4).map(|i| stored.value(i / 2, i % 2)).collect();
        assert_eq!(got, [1.0, 0.0, 1.0, -1.0]);
        assert!((scale(&checkpoint, &m, 0).unwrap() - 0.75).abs() < 1e-7);
    }

    #[test]
    fn master_weights_are_multiplied_not_divided() {
        // Just above half the mean: the quotient rounds to 1, the product with the mean's reciprocal to even, 0.
        let (mean, step) = (41.0 / 1024.0, f32::EPSILON / 64.0);
        let w = [mean / 2.0 + step, -mean / 2.0 - step, 1.5 * mean - 2.0 * step, 1.5 * mean];
        assert!((w[0] / mean).round_ties_even() == 1.0 && w.iter().map(|w| w.abs()).sum::<f32>() == 4.0 * mean);
        let dir = write_checkpoint(&[TestTensor::f32("w.weight", &[2, 2], &w)]);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let stored = StoredMatrix::open(&checkpoint, &matrix("w.weight", [2, 2], Content::Absmean), 0).unwrap();
        let mut row = [0i8; 2];
        for (r, want) in [[0, 0], [1, 1]].into_iter().enumerate() {
            stored.ternary_row(r, &mut row);
            assert_eq!(row, want);
        }
    }

    #[test]
    fn what_is_no_number_is_refused_where_it_is_used() {
        let dir = write_checkpoint(&[TestTensor::bf16("w.weight", &[2, 2], &[1.0, 2.0, f32::NAN, 4.0])]);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let mut part = matrix("w.weight", [1, 2], Content::Dense);
        for (first, fits) in [(0, true), (1, false)] {
            part.rows = Some((first, first + 1));
            assert_eq!(StoredMatrix::open(&checkpoint, &part, 0).is_ok(), fits);
        }
        assert!(StoredMatrix::open(&checkpoint, &matrix("w.weight", [2, 2], Content::Absmean), 0).is_err());
    }

    #[test]
    fn a_part_does_not_reach_past_the_stored_rows() {
        let dir = write_checkpoint(&[TestTensor::u8("w.weight", &[16, 2], vec![0x55; 32])]);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let open = |first, end| {
            let mut part = matrix("w.weight", [end - first, 2], Content::Packed { divides: false });
            part.rows = Some((first, end));
            StoredMatrix::open(&checkpoint, &part, 0).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(open(0, 64), Ok(()));
        let error = open(64, 128).unwrap_err();
        assert!(error.contains("[32, 2] or more rows"), "{error}");
    }

    #[test]
    fn a_dividing_scale_is_inverted_and_a_bad_one_refused() {
        let tensors = |s: f32| {
            [TestTensor::u8("w.weight", &[1, 2], vec![0x55, 0x55]), TestTensor::bf16("w.weight_scale", &[1], &[s])]
        };
        let dir = write_checkpoint(&tensors(4.0));
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        assert_eq!(
            scale(&checkpoint, &matrix("w.weight", [4, 2], Content::Packed { divides: true }), 0).unwrap(),
            0.25
        );
        let dir = write_checkpoint(&tensors(0.0));
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let m = matrix("w.weight", [4, 2], Content::Packed { divides: false });
        assert!(matches!(scale(&checkpoint, &m, 0), Err(WeightError::Content { .. })));
    }

    #[test]
    fn ternary_floats_take_the_scale_beside_them() {
        let m = matrix("w.weight", [2, 2], Content::Packed { divides: false });
        for (unit, wide) in [(1.0, true), (1.0, false), (0.5, false)] {
            let w = [unit, 0.0, -unit, -0.0];
            let weights =
                if wide { TestTensor::f32("w.weight", &[2, 2], &w) } else { TestTensor::bf16("w.weight", &[2, 2], &w) };
            let dir = write_checkpoint(&[weights, TestTensor::bf16("w.weight_scale", &[1], &[4.0])]);
            let checkpoint = Checkpoint::open(dir.path()).unwrap();
            let stored = StoredMatrix::open(&checkpoint, &m, 0).unwrap();
            let mut rows = [[0i8; 2]; 2];
            rows.iter_mut().enumerate().for_each(|(r, row)| stored.ternary_row(r, row));
            assert_eq!(rows, [[1, 0], [-1, 0]]);
            assert_eq!([stored.value(0, 0), stored.value(1, 0), stored.value(1, 1)], [1.0, -1.0, 0.0]);
            assert_eq!(scale(&checkpoint, &m, 0).unwrap(), 4.0 * f64::from(unit));
            let divides = matrix("w.weight", [2, 2], Content::Packed { divides: true });
            assert!(matches!(StoredMatrix::open(&checkpoint, &divides, 0), Err(WeightError::DType { .. })));
        }
        let masters = [0.5f32, -0.1, 0.9, -1.5];
        let dir = write_checkpoint(&[TestTensor::f32("w.weight", &[2, 2], &masters)]);
        let error = StoredMatrix::open(&Checkpoint::open(dir.path()).unwrap(), &m, 0).unwrap_err().to_string();
        assert!(error.contains("not ternary"), "{error}");
    }

    #[test]
    fn a_wrong_shape_or_type_says_what_would_be_right() {
        let dir = write_checkpoint(&[TestTensor::f32("w.weight", &[2, 2], &[0.0; 4])]);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let error = |content, shape| {
            StoredMatrix::open(&checkpoint, &matrix("w.weight", shape, content), 0).unwrap_err().to_string()
        };
        assert!(error(Content::Dense, [2, 3]).contains("[2, 3]"));
        assert!(error(Content::Packed { divides: false }, [8, 2]).contains("uint8"));
    }
}
