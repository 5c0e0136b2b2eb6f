//! A plan's [`Weight`] made from a checkpoint: transposed, set side by side, permuted, padded.
//!
//! Nothing is copied: [`Tensor::Matrix`] maps an element of the card's tensor to an element of the mapped file, or to zero.

use std::sync::Arc;

use bitnetc_numerics::TiledView;
use bitnetc_plan::weight::{HeadPadding, Matrix, RotaryFunction, Source};
use bitnetc_plan::{TILE, TensorSpec, Weight};
use memmap2::Mmap;
use rayon::prelude::*;
use safetensors::Dtype;

use super::checkpoint::{Checkpoint, Stored};
use super::matrix::StoredMatrix;
use super::{WeightError, in_layer};

/// What stands where no element of the checkpoint does.
const ZERO: u32 = u32::MAX;

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
}

/// A matrix `[K, N]` whose columns are rows of checkpoint matrices.
#[derive(Debug)]
pub struct Columns<'a> {
    parts: Vec<StoredMatrix<'a>>,
    /// For each column: its part and its row there, or [`ZERO`].
    columns: Vec<(u32, u32)>,
    /// For each row: the column of the stored matrices, or [`ZERO`].
    inputs: Vec<u32>,
}

/// A row-major float matrix in a mapped file, which it keeps open: nothing but the rows read is ever in memory.
#[derive(Debug, Clone)]
pub struct Rows {
    pub(crate) map: Arc<Mmap>,
    pub(crate) start: usize,
    pub(crate) dtype: Dtype,
    pub(crate) rows: usize,
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
/// Whatever is wrong with its tensors; a source that does not make its spec.
pub fn open<'a>(checkpoint: &'a Checkpoint, weight: &Weight, layer: u32) -> Result<Tensor<'a>, WeightError> {
    let disagree = |why: String| WeightError::Plan { weight: weight.name.clone(), why };
    let spec = &weight.spec;
    match &weight.source {
        Source::Columns(matrices) => columns(checkpoint, weight, matrices, layer).map(Tensor::Matrix),
        Source::Rows(matrix) => {
            let [rows, columns] = matrix.shape.map(u64::from);
            if (spec.outer() * u64::from(spec.rows()), u64::from(spec.columns())) != (rows, columns) {
                return Err(disagree(format!("{:?} rows for a spec of {:?}", matrix.shape, spec.shape)));
            }
            let stored = StoredMatrix::header(checkpoint, matrix, layer)?;
            stored.expect_float()?;
            let first = matrix.rows.map_or(0, |(first, _)| first as usize);
            Ok(Tensor::Rows(Rows {
                map: Arc::clone(stored.map),
                start: stored.start + first * columns as usize * width(stored.dtype),
                dtype: stored.dtype,
                rows: rows as usize,
                columns: columns as usize,
            }))
        }
        Source::Vector { tensor, len, heads, factor } => {
            let stored = vector(checkpoint, tensor, *len, layer)?;
            let mut values = Vec::with_capacity(*len as usize);
            stored.floats(0..stored.len(), |v| values.push((f64::from(v) * factor) as f32))?;
            let order = head_order(*len, *heads, false).map_err(disagree)?;
            dense(spec, order.iter().map(|&i| values.get(i as usize).copied().unwrap_or(0.0))).map_err(disagree)
        }
        Source::Ones { len } => dense(spec, std::iter::repeat_n(1.0, *len as usize)).map_err(disagree),
        Source::RotaryTable { function, positions, frequencies, amplitude } => {
            let table = rotary_table(spec.columns(), *function, *positions, frequencies, *amplitude);
            dense(spec, table.map_err(disagree)?.into_iter()).map_err(disagree)
        }
        Source::RotaryTransform => {
            let rows = (spec.outer() as u32) * spec.rows();
            if spec.columns() != TILE || !rows.is_multiple_of(TILE) {
                return Err(disagree(format!("the rotary transform is 32 columns wide, its spec {:?}", spec.shape)));
            }
            dense(spec, (0..rows * TILE).map(|i| transform(i / TILE % TILE, i % TILE))).map_err(disagree)
        }
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
            layout(weight, matrices).map(drop).map_err(disagree)
        }
        Source::Rows(matrix) => StoredMatrix::header(checkpoint, matrix, layer).map(drop),
        Source::Vector { tensor, len, .. } => vector(checkpoint, tensor, *len, layer).map(drop),
        Source::Ones { .. } | Source::RotaryTable { .. } | Source::RotaryTransform => Ok(()),
    }
}

fn vector<'a>(checkpoint: &'a Checkpoint, tensor: &str, len: u32, layer: u32) -> Result<Stored<'a>, WeightError> {
    let name = in_layer(tensor, layer);
    let missing = || WeightError::Missing { tensor: name.clone(), path: checkpoint.dir().into() };
    let stored = checkpoint.find(&name).ok_or_else(missing)?;
    stored.expect_float()?;
    stored.expect_shape(&[len as usize])?;
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

/// Element of the matrix that turns a row `(a, b, ..)` into `(-b, a, ..)`.
fn transform(row: u32, column: u32) -> f32 {
    match (row % 2, column) {
        (0, c) if c == row + 1 => 1.0,
        (1, c) if c + 1 == row => -1.0,
        _ => 0.0,
    }
}

fn rotary_table(
    columns: u32,
    function: RotaryFunction,
    positions: u32,
    frequencies: &[f64],
    amplitude: f64,
) -> Result<Vec<f32>, String> {
    let columns = columns as usize;
    if 2 * frequencies.len() > columns {
        return Err(format!("{} frequencies for {columns} columns", frequencies.len()));
    }
    let mut table = Vec::with_capacity(positions as usize * columns);
    for position in 0..positions {
        for column in 0..columns {
            let value = frequencies.get(column / 2).map(|f| f * f64::from(position));
            table.push(match (function, value) {
                (RotaryFunction::Cos, Some(angle)) => (angle.cos() * amplitude) as f32,
                (RotaryFunction::Sin, Some(angle)) => (angle.sin() * amplitude) as f32,
                (RotaryFunction::Cos, None) => 1.0,
                (RotaryFunction::Sin, None) => 0.0,
            });
        }
    }
    Ok(table)
}

/// Where each of `len` elements made of heads comes from: padded to `heads.to`, its halves interleaved when `pairs`.
fn head_order(len: u32, heads: Option<HeadPadding>, pairs: bool) -> Result<Vec<u32>, String> {
    let Some(HeadPadding { heads, from, to }) = heads else {
        return if pairs { Err("rotated heads without their size".into()) } else { Ok((0..len).collect()) };
    };
    if heads.checked_mul(from) != Some(len) || to < from || (pairs && from % 2 != 0) {
        return Err(format!("{len} elements are not {heads} heads of {from}, to be padded to {to}"));
    }
    let element = |e: u32| match (e < from, pairs) {
        (false, _) => None,
        (true, false) => Some(e),
        (true, true) => Some(e / 2 + e % 2 * (from / 2)),
    };
    Ok((0..heads).flat_map(|h| (0..to).map(move |e| element(e).map_or(ZERO, |e| h * from + e))).collect())
}

/// Part and row of each column, and stored column of each row.
type Layout = (Vec<(u32, u32)>, Vec<u32>);

fn layout(weight: &Weight, matrices: &[Matrix]) -> Result<Layout, String> {
    let mut columns = Vec::new();
    let mut inputs: Option<Vec<u32>> = None;
    for (part, matrix) in matrices.iter().enumerate() {
        let order = head_order(matrix.shape[0], matrix.heads, matrix.rotate_pairs)
            .map_err(|why| format!("columns of `{}`: {why}", matrix.tensor))?;
        columns.extend(order.into_iter().map(|row| (part as u32, row)));
        let rows = head_order(matrix.shape[1], matrix.input_heads, false)
            .map_err(|why| format!("rows of `{}`: {why}", matrix.tensor))?;
        if inputs.get_or_insert_with(|| rows.clone()) != &rows {
            return Err(format!("`{}` has other rows than the matrices left of it", matrix.tensor));
        }
    }
    let mut inputs = inputs.unwrap_or_default();
    let spec = &weight.spec;
    let (k, n) = (spec.rows() as usize, spec.columns() as usize);
    if spec.outer() != 1 || inputs.len() > k || columns.len() > n {
        return Err(format!("{} x {} elements for a spec of {:?}", inputs.len(), columns.len(), spec.shape));
    }
    inputs.resize(k, ZERO);
    columns.resize(n, (0, ZERO));
    Ok((columns, inputs))
}

fn columns<'a>(
    checkpoint: &'a Checkpoint,
    weight: &Weight,
    matrices: &[Matrix],
    layer: u32,
) -> Result<Columns<'a>, WeightError> {
    let disagree = |why: String| WeightError::Plan { weight: weight.name.clone(), why };
    let (columns, inputs) = layout(weight, matrices).map_err(disagree)?;
    let parts: Result<Vec<_>, _> = matrices.iter().map(|m| StoredMatrix::open(checkpoint, m, layer)).collect();
    Ok(Columns { parts: parts?, columns, inputs })
}

impl Columns<'_> {
    /// Rows, K.
    pub fn k(&self) -> usize {
        self.inputs.len()
    }

    /// Columns, N.
    pub fn n(&self) -> usize {
        self.columns.len()
    }

    /// True when every element is -1, 0 or 1.
    pub fn is_ternary(&self) -> bool {
        self.parts.iter().all(StoredMatrix::is_ternary)
    }

    /// Element (`k`, `n`).
    #[inline]
    pub fn value(&self, k: usize, n: usize) -> f32 {
        let ((part, row), column) = (self.columns[n], self.inputs[k]);
        if row == ZERO || column == ZERO { 0.0 } else { self.parts[part as usize].value(row as usize, column as usize) }
    }

    /// All elements as ternary numbers, column after column: `[N, K]`. Zeros where a part is not ternary.
    pub fn ternary_columns(&self) -> Vec<i8> {
        let mut values = vec![0i8; self.k() * self.n()];
        let columns = values.par_chunks_mut(self.k().max(1)).enumerate();
        columns.for_each_init(Vec::new, |row, (n, out)| self.ternary_column(n, row, out));
        values
    }

    fn ternary_column(&self, n: usize, row: &mut Vec<i8>, out: &mut [i8]) {
        let (part, at) = self.columns[n];
        if at == ZERO {
            return;
        }
        let part = &self.parts[part as usize];
        row.resize(part.columns(), 0);
        part.ternary_row(at as usize, row);
        for (o, &column) in out.iter_mut().zip(&self.inputs) {
            *o = row.get(column as usize).copied().unwrap_or(0);
        }
    }
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
        let bytes = width(self.dtype) * self.columns;
        let data = &self.map[self.start + row * bytes..self.start + (row + 1) * bytes];
        match self.dtype {
            Dtype::F32 => out.iter_mut().zip(data.as_chunks::<4>().0).for_each(|(o, b)| *o = f32::from_le_bytes(*b)),
            Dtype::F16 => {
                out.iter_mut()
                    .zip(data.as_chunks::<2>().0)
                    .for_each(|(o, b)| *o = half::f16::from_le_bytes(*b).to_f32());
            }
            _ => out
                .iter_mut()
                .zip(data.as_chunks::<2>().0)
                .for_each(|(o, b)| *o = half::bf16::from_le_bytes(*b).to_f32()),
        }
    }
}

/// Bytes of an element of a float data type.
pub(crate) fn width(dtype: Dtype) -> usize {
    if dtype == Dtype::F32 { 4 } else { 2 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::testing::{TestTensor, matrix, pack, weight, write_checkpoint};
    use bitnetc_plan::weight::Content;

    fn values(tensor: &Tensor<'_>) -> Vec<f32> {
        match tensor {
            Tensor::Matrix(m) => (0..m.k()).flat_map(|k| (0..m.n()).map(move |n| m.value(k, n))).collect(),
            Tensor::Rows(m) => {
                let mut values = vec![0.0; m.rows() * m.columns()];
                values.chunks_mut(m.columns()).enumerate().for_each(|(r, row)| m.read_row(r, row));
                values
            }
            Tensor::Dense(v) => v.clone(),
            Tensor::Tiled(tiles) => tiles.view.to_f32(),
        }
    }

    #[test]
    fn columns_are_transposed_joined_permuted_and_padded() {
        let dir = write_checkpoint(&[
            TestTensor::f32("q", &[4, 2], &[1., 2., 3., 4., 5., 6., 7., 8.]),
            TestTensor::f32("v", &[1, 2], &[9., 10.]),
        ]);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let mut q = matrix("q", [4, 2], Content::Dense);
        q.rotate_pairs = true;
        q.heads = Some(HeadPadding { heads: 1, from: 4, to: 5 });
        let v = matrix("v", [1, 2], Content::Dense);
        let w = weight(&[1, 1, 3, 7], Source::Columns(vec![q, v]));
        let got = values(&open(&checkpoint, &w, 0).unwrap());
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
        o.input_heads = Some(HeadPadding { heads: 2, from: 2, to: 3 });
        let w = weight(&[1, 1, 6, 1], Source::Columns(vec![o]));
        assert_eq!(values(&open(&checkpoint, &w, 0).unwrap()), [5., 6., 0., 7., 8., 0.]);
    }

    #[test]
    fn ternary_columns_are_the_elements_column_by_column() {
        let rows: Vec<i8> = (0..8 * 6).map(|i| (i * 5 % 3) as i8 - 1).collect();
        let dir = write_checkpoint(&[TestTensor::u8("w", &[2, 6], pack(&rows, 8, 6))]);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let mut m = matrix("w", [8, 6], Content::Packed { divides: false });
        m.heads = Some(HeadPadding { heads: 2, from: 4, to: 5 });
        m.input_heads = Some(HeadPadding { heads: 2, from: 3, to: 4 });
        let w = weight(&[1, 1, 9, 11], Source::Columns(vec![m]));
        let Tensor::Matrix(columns) = open(&checkpoint, &w, 0).unwrap() else { panic!() };
        let values = columns.ternary_columns();
        for (i, v) in values.iter().enumerate() {
            assert_eq!(f32::from(*v), columns.value(i % 9, i / 9));
        }
        assert_eq!(values.iter().filter(|v| **v != 0).count(), rows.iter().filter(|v| **v != 0).count());
    }

    #[test]
    fn vectors_take_their_factor_and_padding() {
        let dir = write_checkpoint(&[TestTensor::bf16("layers.3.n", &[4], &[1., 2., 3., 4.])]);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let heads = Some(HeadPadding { heads: 2, from: 2, to: 3 });
        let source = Source::Vector { tensor: "layers.{layer}.n".into(), len: 4, heads, factor: 0.5 };
        let w = weight(&[1, 1, 1, 6], source.clone());
        assert_eq!(values(&open(&checkpoint, &w, 3).unwrap()), [0.5, 1.0, 0.0, 1.5, 2.0, 0.0]);
        assert!(matches!(open(&checkpoint, &w, 2), Err(WeightError::Missing { .. })));
        let small = weight(&[1, 1, 1, 5], source);
        assert!(matches!(open(&checkpoint, &small, 3), Err(WeightError::Plan { .. })));
    }

    #[test]
    fn rotation_by_table_and_transform_is_a_rotation() {
        let frequencies = vec![1.0, 0.5];
        let table = |function| rotary_table(6, function, 3, &frequencies, 1.0).unwrap();
        let (cos, sin) = (table(RotaryFunction::Cos), table(RotaryFunction::Sin));
        assert_eq!(cos[12..16], [2f64.cos(), 2f64.cos(), 1f64.cos(), 1f64.cos()].map(|v| v as f32));
        assert_eq!((&cos[16..18], &sin[16..18]), (&[1.0, 1.0][..], &[0.0, 0.0][..]));
        let x = [3.0f32, 4.0];
        let turned = |c: u32| (0..2).map(|r| x[r as usize] * transform(r, c)).sum::<f32>();
        assert_eq!([turned(0), turned(1)], [-4.0, 3.0]);
    }
}
