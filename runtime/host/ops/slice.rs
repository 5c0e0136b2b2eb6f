//! `ttnn.slice` along the rows or the columns.

use std::ops::Range;

use bitnetc_plan::op::{Kept, Slice};

use crate::DeviceError;
use crate::host::movement::{copy_runs, expect};
use crate::host::run::Run;
use crate::host::tensor::HostTensor;

pub fn execute(op: &Slice, run: &mut Run<'_>) -> Result<(), DeviceError> {
    run.produce(|x, [out]| match op.kept {
        Kept::Rows(first, end) => rows(x.tensor(0)?, first as usize..end as usize, out),
        Kept::Columns(count) => columns(x.tensor(0)?, count as usize, out),
    })
}

/// Keeps some rows.
fn rows(input: &HostTensor, kept: Range<usize>, out: &mut HostTensor) -> Result<(), DeviceError> {
    let (outer, rows, columns, taken) = (input.dim(0) * input.dim(1), input.dim(2), input.dim(3), out.dim(2));
    let Range { start, end } = kept;
    let fits = end <= rows && end.checked_sub(start) == Some(taken) && out.dim(0) * out.dim(1) == outer;
    expect(0, input, fits && out.columns() == columns, || format!("one that has rows {start}..{end}"))?;
    let runs = (0..outer).map(|o| ((o * rows + start) * columns, o * taken * columns));
    copy_runs(0, input, out, taken * columns, runs)
}

/// Keeps the first `count` columns of every row.
fn columns(input: &HostTensor, count: usize, out: &mut HostTensor) -> Result<(), DeviceError> {
    let (rows, columns) = (input.rows(), input.columns());
    let fits = count <= columns && (out.rows(), out.columns()) == (rows, count);
    expect(0, input, fits, || format!("one of {} rows with {count} columns or more", out.rows()))?;
    copy_runs(0, input, out, count, (0..rows).map(|row| (row * columns, row * count)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::{numbered, values};

    #[test]
    fn some_rows() {
        let input = numbered(&[1, 1, 64, 2]);
        let mut tile = numbered(&[1, 1, 32, 2]);
        rows(&input, 32..64, &mut tile).unwrap();
        assert_eq!(values(&tile)[..3], [64., 65., 66.]);
        assert!(rows(&input, 64..96, &mut tile).is_err() && rows(&input, 32..63, &mut tile).is_err());
    }

    #[test]
    fn the_first_columns() {
        let input = numbered(&[1, 1, 2, 4]);
        let mut out = numbered(&[1, 1, 2, 3]);
        columns(&input, 3, &mut out).unwrap();
        assert_eq!(values(&out), [0., 1., 2., 4., 5., 6.]);
        assert!(columns(&out, 4, &mut numbered(&[1, 1, 2, 4])).is_err());
    }
}
