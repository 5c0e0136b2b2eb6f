//! `ttnn.slice` along the rows, from where a tensor says.

use bitnetc_plan::op::SliceAt;

use crate::DeviceError;
use crate::host::movement::{copy_runs, expect};
use crate::host::run::Run;
use crate::host::tensor::HostTensor;

pub fn execute(_: &SliceAt, run: &mut Run<'_>) -> Result<(), DeviceError> {
    run.produce(|x, [out]| slice(x.tensor(0)?, x.integers(1)?, x.integers(2)?, out))
}

/// Rows of a `[1, 1, S, N]` tensor from the third of `starts` to before the third of `ends`, which must be as many as the result has.
fn slice(input: &HostTensor, starts: &[u32], ends: &[u32], out: &mut HostTensor) -> Result<(), DeviceError> {
    let row = |indices: &[u32], operand| match *indices {
        [_, _, row, _] => Ok(row as usize),
        _ => Err(DeviceError::Operand {
            operand,
            got: format!("{} indices", indices.len()),
            want: "one for each of four dimensions".into(),
        }),
    };
    let (first, end) = (row(starts, 1)?, row(ends, 2)?);
    let (taken, rows, columns) = (out.dim(2), input.dim(2), input.dim(3));
    let fits = input.rows() == rows && end <= rows && end.checked_sub(first) == Some(taken);
    expect(0, input, fits && out.columns() == columns, || format!("one that has rows {first}..{end}"))?;
    copy_runs(0, input, out, taken * columns, std::iter::once((first * columns, 0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::{numbered, values};

    #[test]
    fn a_tile_of_rows_from_where_it_starts() {
        let input = numbered(&[1, 1, 64, 2]);
        let mut tile = numbered(&[1, 1, 32, 2]);
        slice(&input, &[0, 0, 32, 0], &[1, 1, 64, 2], &mut tile).unwrap();
        assert_eq!(values(&tile)[..3], [64., 65., 66.]);
        let mut refused = |starts: &[u32], ends: &[u32]| slice(&input, starts, ends, &mut tile).is_err();
        assert!(refused(&[0, 0, 64, 0], &[1, 1, 96, 2]) && refused(&[0, 0, 32, 0], &[1, 1, 63, 2]));
        assert!(refused(&[32], &[1, 1, 64, 2]));
    }
}
