//! Checkpoint matrices side by side, transposed, permuted and padded: where each element of a card's matrix is stored.

use bitnetc_plan::weight::Matrix;
use bitnetc_plan::{Padding, Weight};
use rayon::prelude::*;

use super::WeightError;
use super::checkpoint::Checkpoint;
use super::matrix::StoredMatrix;

/// Marks a place that no element of the checkpoint fills.
const ZERO: u32 = u32::MAX;

/// A matrix `[K, N]` whose columns are rows of checkpoint matrices.
#[derive(Debug)]
pub struct Columns<'a> {
    parts: Vec<StoredMatrix<'a>>,
    /// For each column: its part and its row there, or [`ZERO`].
    columns: Vec<(u32, u32)>,
    /// For each row: the column of the stored matrices, or [`ZERO`].
    inputs: Vec<u32>,
}

/// Where each of `len` elements made of groups comes from: padded to `padding.to`, the halves of the `rotated` leading elements of a group
/// interleaved.
pub(super) fn order(len: u32, padding: Option<Padding>, rotated: u32) -> Result<Vec<u32>, String> {
    let Some(Padding { groups, from, to }) = padding else {
        return if rotated > 0 { Err("rotated heads without their size".into()) } else { Ok((0..len).collect()) };
    };
    if groups.checked_mul(from) != Some(len) || to < from || !rotated.is_multiple_of(2) || rotated > from {
        return Err(format!("{len} elements are not {groups} groups of {from}, to be padded to {to}"));
    }
    let element = |e: u32| match (e < from, e < rotated) {
        (false, _) => None,
        (true, false) => Some(e),
        (true, true) => Some(e / 2 + e % 2 * (rotated / 2)),
    };
    Ok((0..groups).flat_map(|g| (0..to).map(move |e| element(e).map_or(ZERO, |e| g * from + e))).collect())
}

/// Part and row of each column, and stored column of each row.
pub(super) type Layout = (Vec<(u32, u32)>, Vec<u32>);

/// Where the elements of `weight` come from.
///
/// # Errors
/// Matrices that do not make its spec.
pub(super) fn layout(weight: &Weight, matrices: &[Matrix]) -> Result<Layout, String> {
    let mut columns = Vec::new();
    let mut inputs: Option<Vec<u32>> = None;
    for (part, matrix) in matrices.iter().enumerate() {
        let outputs = order(matrix.shape[0], matrix.outputs, matrix.rotated)
            .map_err(|why| format!("columns of `{}`: {why}", matrix.tensor))?;
        columns.extend(outputs.into_iter().map(|row| (part as u32, row)));
        let rows =
            order(matrix.shape[1], matrix.inputs, 0).map_err(|why| format!("rows of `{}`: {why}", matrix.tensor))?;
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

/// Makes `weight` of `matrices`.
///
/// # Errors
/// An error of one of the matrices; matrices that do not make the weight's spec.
pub(super) fn open<'a>(
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
