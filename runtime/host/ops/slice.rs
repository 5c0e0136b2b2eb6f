//! `ttnn.slice` along the rows or the columns.

use bitnetc_plan::op::{Kept, Slice};

use crate::DeviceError;
use crate::device::Arguments;
use crate::host::movement::{copy_runs, expect};
use crate::host::run::Run;
use crate::host::tensor::HostTensor;

pub fn execute(op: &Slice, run: &mut Run<'_>) -> Result<(), DeviceError> {
    let arguments = run.arguments;
    run.produce(|x, [out]| slice(x.tensor(0)?, op.kept, arguments, out))
}

/// Keeps some rows. Of the last token's tile only the row that will be read is copied, where the host names it; the others are zeros.
fn slice(input: &HostTensor, kept: Kept, arguments: Arguments, out: &mut HostTensor) -> Result<(), DeviceError> {
    if let Kept::Columns(count) = kept {
        return columns(input, count as usize, out);
    }
    let taken = out.dim(2);
    let (first, end) = match kept {
        Kept::Rows(first, end) => (first as usize, end as usize),
        Kept::LastTokenTile => (arguments.tile_row as usize, arguments.tile_row as usize + taken),
        Kept::Columns(_) => (0, taken),
    };
    let (outer, rows, columns) = (input.dim(0) * input.dim(1), input.dim(2), input.dim(3));
    let fits = end <= rows && end.checked_sub(first) == Some(taken) && out.dim(0) * out.dim(1) == outer;
    expect(0, input, fits && out.columns() == columns, || format!("one that has rows {first}..{end}"))?;
    let kept = match (kept, arguments.live_row) {
        (Kept::LastTokenTile, Some(row)) if (row as usize) < taken => row as usize..row as usize + 1,
        (Kept::LastTokenTile | Kept::Rows(..) | Kept::Columns(_), _) => 0..taken,
    };
    if kept.len() < taken {
        out.clear();
    }
    let runs = (0..outer).map(|o| ((o * rows + first + kept.start) * columns, (o * taken + kept.start) * columns));
    copy_runs(0, input, out, kept.len() * columns, runs)
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
    fn the_last_tile_and_its_live_row() {
        let input = numbered(&[1, 1, 64, 2]);
        let mut tile = numbered(&[1, 1, 32, 2]);
        let at = |tile_row, live_row| Arguments { user: 0, tile_row, live_row };
        slice(&input, Kept::LastTokenTile, at(32, None), &mut tile).unwrap();
        assert_eq!(values(&tile)[..3], [64., 65., 66.]);
        slice(&input, Kept::LastTokenTile, at(32, Some(1)), &mut tile).unwrap();
        assert_eq!(values(&tile)[..5], [0., 0., 66., 67., 0.]);
        assert!(slice(&input, Kept::LastTokenTile, at(64, None), &mut tile).is_err());
    }

    #[test]
    fn the_first_columns() {
        let input = numbered(&[1, 1, 2, 4]);
        let mut out = numbered(&[1, 1, 2, 3]);
        slice(&input, Kept::Columns(3), Arguments::default(), &mut out).unwrap();
        assert_eq!(values(&out), [0., 1., 2., 4., 5., 6.]);
        assert!(slice(&out, Kept::Columns(4), Arguments::default(), &mut numbered(&[1, 1, 2, 4])).is_err());
    }
}
