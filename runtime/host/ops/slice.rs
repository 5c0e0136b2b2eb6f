//! `ttnn.slice` along the rows.

use bitnetc_plan::op::{Rows, Slice};

use crate::DeviceError;
use crate::device::Arguments;
use crate::host::movement::{copy_runs, expect};
use crate::host::run::Run;
use crate::host::tensor::HostTensor;

pub fn execute(op: &Slice, run: &mut Run<'_>) -> Result<(), DeviceError> {
    let arguments = run.arguments;
    run.produce(|x, [out]| slice(x.tensor(0)?, op.rows, arguments, out))
}

/// Keeps some rows. Of the last token's tile only the row that will be read is copied, where the host names it; the others are zeros.
fn slice(input: &HostTensor, kept: Rows, arguments: Arguments, out: &mut HostTensor) -> Result<(), DeviceError> {
    let taken = out.dim(2);
    let (first, end) = match kept {
        Rows::Range(first, end) => (first as usize, end as usize),
        Rows::LastTokenTile => (arguments.tile_row as usize, arguments.tile_row as usize + taken),
    };
    let (outer, rows, columns) = (input.dim(0) * input.dim(1), input.dim(2), input.dim(3));
    let fits = end <= rows && end.checked_sub(first) == Some(taken) && out.dim(0) * out.dim(1) == outer;
    expect(0, input, fits && out.columns() == columns, || format!("one that has rows {first}..{end}"))?;
    let kept = match (kept, arguments.live_row) {
        (Rows::LastTokenTile, Some(row)) if (row as usize) < taken => row as usize..row as usize + 1,
        (Rows::LastTokenTile | Rows::Range(..), _) => 0..taken,
    };
    if kept.len() < taken {
        out.clear();
    }
    let runs = (0..outer).map(|o| ((o * rows + first + kept.start) * columns, (o * taken + kept.start) * columns));
    copy_runs(0, input, out, kept.len() * columns, runs)
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
        slice(&input, Rows::LastTokenTile, at(32, None), &mut tile).unwrap();
        assert_eq!(values(&tile)[..3], [64., 65., 66.]);
        slice(&input, Rows::LastTokenTile, at(32, Some(1)), &mut tile).unwrap();
        assert_eq!(values(&tile)[..5], [0., 0., 66., 67., 0.]);
        assert!(slice(&input, Rows::LastTokenTile, at(64, None), &mut tile).is_err());
    }
}
