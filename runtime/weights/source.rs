//! A plan's [`Weight`] made from a checkpoint: transposed, set side by side, permuted, padded.
//!
//! Nothing is copied: [`Tensor::Matrix`] maps an element of the card's tensor to an element of the mapped file, or to zero.

use std::sync::Arc;

use bitnetc_numerics::TiledView;
use bitnetc_plan::weight::{Matrix, Source, Vector};
use bitnetc_plan::{Padding, TILE, TensorSpec, Weight};
use memmap2::Mmap;

use super::checkpoint::{Checkpoint, Stored};
use super::codes::Codes;
use super::columns::{self, Columns};
use super::floats::Dtype;
use super::matrix::{self, StoredMatrix};
use super::{WeightError, floats, in_layer, tables};

/// The numbers of a weight, before they are rounded to the data type of its spec.
#[derive(Debug)]
pub enum Tensor<'a> {
    /// `[K, N]`, made of checkpoint matrices.
    Matrix(Columns<'a>),
    /// `[rows, columns]`, a float matrix of the checkpoint as it lies there.
    Rows(Rows),
    /// All elements of the spec's shape, row-major.
    Dense(Vec<f32>),
    /// `[rows, columns]`, tiles of a packed file.
    Tiled(Tiles<'a>),
    /// `[rows, columns]`, two-bit codes of a packed file.
    Codes(Codes<'a>),
}

/// A row-major float matrix in a mapped file, which it keeps open: nothing but the rows read is ever in memory.
#[derive(Debug, Clone)]
pub struct Rows {
    pub(crate) map: Arc<Mmap>,
    pub(crate) start: usize,
    pub(crate) dtype: Dtype,
    pub(crate) rows: usize,
    /// Columns that are stored.
    pub(crate) stored: usize,
    /// Columns of a row: the stored ones, then zeros.
    pub(crate) columns: usize,
}

/// Tiles of a packed file.
#[derive(Debug, Clone, Copy)]
pub struct Tiles<'a> {
    /// The tiles.
    pub view: TiledView<'a>,
    /// Their bytes.
    pub bytes: &'a [u8],
    /// Every element is -1, 0 or 1.
    pub ternary: bool,
}

/// Makes weight `weight` of layer `layer`.
///
/// # Errors
/// An error of one of its tensors; a source that does not make the weight's spec.
pub fn open<'a>(checkpoint: &'a Checkpoint, weight: &Weight, layer: u32) -> Result<Tensor<'a>, WeightError> {
    let disagree = |why: String| WeightError::Plan { weight: weight.name.clone(), why };
    let spec = &weight.spec;
    match &weight.source {
        Source::Columns(matrices) => columns::open(checkpoint, weight, matrices, layer).map(Tensor::Matrix),
        Source::Rows(matrix) => {
            let [rows, columns] = matrix.shape.map(|d| d as usize);
            let padded = table_columns(matrix).map_err(disagree)?;
            if (spec.outer() as usize * spec.rows() as usize, spec.columns() as usize) != (rows, padded) {
                return Err(disagree(format!("{:?} rows for a spec of {:?}", matrix.shape, spec.shape)));
            }
            let stored = StoredMatrix::header(checkpoint, matrix, layer)?;
            stored.expect_float()?;
            let first = matrix.rows.map_or(0, |(first, _)| first as usize);
            stored.expect_finite(first * columns..(first + rows) * columns)?;
            Ok(Tensor::Rows(Rows {
                map: Arc::clone(stored.map),
                start: stored.start + floats::span(stored.dtype, 0..first * columns).end,
                dtype: stored.dtype,
                rows,
                stored: columns,
                columns: padded,
            }))
        }
        Source::Vectors(parts) => {
            let mut values = Vec::new();
            for part in parts {
                elements(checkpoint, part, layer, &mut values)?;
                let order = columns::order(part.len, part.padding, part.rotated).map_err(disagree)?;
                let stored = values.split_off(values.len() - part.len as usize);
                values.extend(order.iter().map(|&i| stored.get(i as usize).copied().unwrap_or(0.0)));
            }
            dense(spec, values.into_iter()).map_err(disagree)
        }
        Source::Ones { len, factor } => {
            dense(spec, std::iter::repeat_n(*factor as f32, *len as usize)).map_err(disagree)
        }
        Source::RotaryTable { .. } => {
            let table = tables::rotary_table(spec.columns(), &weight.source);
            dense(spec, table.map_err(disagree)?.into_iter()).map_err(disagree)
        }
        Source::RotaryTransform => {
            let rows = (spec.outer() as u32) * spec.rows();
            if spec.columns() != TILE || !rows.is_multiple_of(TILE) {
                return Err(disagree(format!("the rotary transform is 32 columns wide, its spec {:?}", spec.shape)));
            }
            dense(spec, (0..rows * TILE).map(|i| tables::transform(i / TILE % TILE, i % TILE))).map_err(disagree)
        }
    }
}

/// Columns of a table on the card: those of its matrix, padded at the end.
///
/// # Errors
/// Padding anywhere else.
fn table_columns(matrix: &Matrix) -> Result<usize, String> {
    match matrix.inputs {
        None => Ok(matrix.shape[1] as usize),
        Some(Padding { groups: 1, from, to }) if from == matrix.shape[1] && from <= to => Ok(to as usize),
        Some(padding) => Err(format!("rows of {} are padded as {padding}", matrix.shape[1])),
    }
}

/// Checks presence, shapes and data types of everything `weight` is made of, without reading elements.
///
/// # Errors
/// The first thing wrong.
pub fn check(checkpoint: &Checkpoint, weight: &Weight, layer: u32) -> Result<(), WeightError> {
    let disagree = |why: String| WeightError::Plan { weight: weight.name.clone(), why };
    match &weight.source {
        Source::Columns(matrices) => {
            for matrix in matrices {
                StoredMatrix::header(checkpoint, matrix, layer)?;
            }
            columns::layout(weight, matrices).map(drop).map_err(disagree)
        }
        Source::Rows(matrix) => {
            StoredMatrix::header(checkpoint, matrix, layer)?;
            table_columns(matrix).map(drop).map_err(disagree)
        }
        Source::Vectors(parts) => parts.iter().try_for_each(|part| {
            vector(checkpoint, part, layer)?;
            part.scales.iter().try_for_each(|(matrix, _)| StoredMatrix::header(checkpoint, matrix, layer).map(drop))
        }),
        Source::Ones { .. } | Source::RotaryTable { .. } | Source::RotaryTransform => Ok(()),
    }
}

/// Appends the elements of a vector, in the checkpoint's order, times its factor and scales.
fn elements(checkpoint: &Checkpoint, part: &Vector, layer: u32, out: &mut Vec<f32>) -> Result<(), WeightError> {
    let stored = vector(checkpoint, part, layer)?;
    stored.expect_finite(0..stored.len())?;
    let mut factor = part.factor;
    for (matrix, power) in &part.scales {
        factor *= matrix::scale(checkpoint, matrix, layer)?.powi(*power);
    }
    stored.floats(0..stored.len(), |v| out.push((f64::from(v) * factor) as f32))
}

fn vector<'a>(checkpoint: &'a Checkpoint, part: &Vector, layer: u32) -> Result<Stored<'a>, WeightError> {
    let name = in_layer(&part.tensor, layer);
    let missing = || WeightError::Missing { tensor: name.clone(), path: checkpoint.dir().into() };
    let stored = checkpoint.find(&name).ok_or_else(missing)?;
    stored.expect_float()?;
    stored.expect_shape(&[part.len as usize])?;
    Ok(stored)
}

/// All elements of `spec`, zeros after the last given.
fn dense<'a>(spec: &TensorSpec, values: impl ExactSizeIterator<Item = f32>) -> Result<Tensor<'a>, String> {
    let (got, want) = (values.len(), spec.shape.iter().map(|&d| d as usize).product::<usize>());
    if got > want {
        return Err(format!("{got} elements for a spec of {:?}", spec.shape));
    }
    let mut values: Vec<f32> = values.collect();
    values.resize(want, 0.0);
    Ok(Tensor::Dense(values))
}

impl Rows {
    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Row `row`, less than [`Rows::rows`], into `out`, which has [`Rows::columns`] elements.
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        let span = floats::span(self.dtype, row * self.stored..(row + 1) * self.stored);
        let data = &self.map[self.start + span.start..self.start + span.end];
        let mut places = out.iter_mut();
        floats::each(self.dtype, data, |v| {
            if let Some(place) = places.next() {
                *place = v;
            }
        });
        places.for_each(|place| *place = 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::tables::{rotary_table, transform};
    use crate::weights::testing::{TestTensor, matrix, pack, vector, weight, write_checkpoint};
    use bitnetc_plan::weight::{Content, RotaryFunction};

    #[test]
    fn columns_are_transposed_joined_permuted_and_padded() {
        let dir = write_checkpoint(&[
            TestTensor::f32("q", &[4, 2], &[1., 2., 3., 4., 5., 6., 7., 8.]),
            TestTensor::f32("v", &[1, 2], &[9., 10.]),
        ]);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let mut q = matrix("q", [4, 2], Content::Dense);
        q.rotated = 4;
        q.outputs = Some(Padding { groups: 1, from: 4, to: 5 });
        let v = matrix("v", [1, 2], Content::Dense);
        let w = weight(&[1, 1, 3, 7], Source::Columns(vec![q, v]));
        let got = open(&checkpoint, &w, 0).unwrap().values();
        // Rows of q in the order 0, 2, 1, 3, then its zero column, v, and the spec's own padding.
        let want = [1., 5., 3., 7., 0., 9., 0., 2., 6., 4., 8., 0., 10., 0., 0., 0., 0., 0., 0., 0., 0.];
        assert_eq!(got, want);
    }

    #[test]
    fn input_heads_are_padded_and_rows_sliced() {
        let dir = write_checkpoint(&[TestTensor::f32("o", &[2, 4], &[1., 2., 3., 4., 5., 6., 7., 8.])]);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let mut o = matrix("o", [1, 4], Content::Dense);
        o.rows = Some((1, 2));
        o.inputs = Some(Padding { groups: 2, from: 2, to: 3 });
        let w = weight(&[1, 1, 6, 1], Source::Columns(vec![o]));
        assert_eq!(open(&checkpoint, &w, 0).unwrap().values(), [5., 6., 0., 7., 8., 0.]);
    }

    #[test]
    fn ternary_columns_are_the_elements_column_by_column() {
        let rows: Vec<i8> = (0..8 * 6).map(|i| (i * 5 % 3) as i8 - 1).collect();
        let dir = write_checkpoint(&[TestTensor::u8("w", &[2, 6], pack(&rows, 8, 6))]);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let mut m = matrix("w", [8, 6], Content::Packed { divides: false });
        m.outputs = Some(Padding { groups: 2, from: 4, to: 5 });
        m.inputs = Some(Padding { groups: 2, from: 3, to: 4 });
        let w = weight(&[1, 1, 9, 11], Source::Columns(vec![m]));
        let Tensor::Matrix(columns) = open(&checkpoint, &w, 0).unwrap() else { panic!() };
        let values = columns.ternary_columns();
        for (i, v) in values.iter().enumerate() {
            assert_eq!(f32::from(*v), columns.value(i % 9, i / 9));
        }
        assert_eq!(values.iter().filter(|v| **v != 0).count(), rows.iter().filter(|v| **v != 0).count());
    }

    #[test]
    fn rows_of_a_table_end_in_zeros() {
        let dir = write_checkpoint(&[TestTensor::bf16("e", &[3, 2], &[1., 2., 3., 4., 5., 6.])]);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let mut table = matrix("e", [2, 2], Content::Dense);
        table.rows = Some((1, 3));
        table.inputs = Some(Padding { groups: 1, from: 2, to: 4 });
        let w = weight(&[1, 1, 2, 4], Source::Rows(table.clone()));
        assert_eq!(open(&checkpoint, &w, 0).unwrap().values(), [3., 4., 0., 0., 5., 6., 0., 0.]);
        table.inputs = Some(Padding { groups: 2, from: 1, to: 2 });
        let w = weight(&[1, 1, 2, 4], Source::Rows(table));
        assert!(matches!(open(&checkpoint, &w, 0), Err(WeightError::Plan { .. })));
        assert!(matches!(check(&checkpoint, &w, 0), Err(WeightError::Plan { .. })));
    }

    #[test]
    fn vectors_take_their_factor_and_padding() {
        let dir = write_checkpoint(&[TestTensor::bf16("layers.3.n", &[4], &[1., 2., 3., 4.])]);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let padding = Some(Padding { groups: 2, from: 2, to: 3 });
        let source = Source::Vectors(vec![Vector { padding, factor: 0.5, ..vector("layers.{layer}.n", 4) }]);
        let w = weight(&[1, 1, 1, 6], source.clone());
        assert_eq!(open(&checkpoint, &w, 3).unwrap().values(), [0.5, 1.0, 0.0, 1.5, 2.0, 0.0]);
        assert!(matches!(open(&checkpoint, &w, 2), Err(WeightError::Missing { .. })));
        let small = weight(&[1, 1, 1, 5], source);
        assert!(matches!(open(&checkpoint, &small, 3), Err(WeightError::Plan { .. })));
    }

    /// A bias is reordered as the columns that it is added to, and takes the scales of matrices to their powers.
    #[test]
    fn vectors_are_joined_reordered_and_scaled() {
        let codes: Vec<i8> = (0..8 * 2).map(|i| (i % 3) as i8 - 1).collect();
        let dir = write_checkpoint(&[
            TestTensor::f32("q.bias", &[6], &[1., 2., 3., 4., 5., 6.]),
            TestTensor::f32("v.bias", &[2], &[8., 16.]),
            TestTensor::u8("v.weight", &[2, 2], pack(&codes, 8, 2)),
            TestTensor::f32("v.weight_scale", &[1], &[4.0]),
        ]);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let padding = Some(Padding { groups: 1, from: 6, to: 7 });
        let q = Vector { padding, rotated: 4, ..vector("q.bias", 6) };
        let scales = vec![(matrix("v.weight", [8, 2], Content::Packed { divides: false }), -1)];
        let w = weight(&[1, 1, 1, 9], Source::Vectors(vec![q, Vector { scales, ..vector("v.bias", 2) }]));
        check(&checkpoint, &w, 0).unwrap();
        let want = [1.0, 3.0, 2.0, 4.0, 5.0, 6.0, 0.0, 2.0, 4.0];
        assert_eq!(open(&checkpoint, &w, 0).unwrap().values(), want);
    }

    #[test]
    fn rotation_by_table_and_transform_is_a_rotation() {
        let frequencies = vec![1.0, 0.5];
        let table = |function| {
            let frequencies = frequencies.clone();
            let source = Source::RotaryTable { function, positions: 3, frequencies, amplitude: 1.0, long: None };
            rotary_table(6, &source).unwrap()
        };
        let (cos, sin) = (table(RotaryFunction::Cos), table(RotaryFunction::Sin));
        assert_eq!(cos[12..16], [2f64.cos(), 2f64.cos(), 1f64.cos(), 1f64.cos()].map(|v| v as f32));
        assert_eq!((&cos[16..18], &sin[16..18]), (&[1.0, 1.0][..], &[0.0, 0.0][..]));
        let x = [3.0f32, 4.0];
        let turned = |c: u32| (0..2).map(|r| x[r as usize] * transform(r, c)).sum::<f32>();
        assert_eq!([turned(0), turned(1)], [-4.0, 3.0]);
    }
}
