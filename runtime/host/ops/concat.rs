//! `ttnn.concat` along the columns.

use bitnetc_plan::op::Concat;

use crate::DeviceError;
use crate::host::movement::{copy_runs, expect};
use crate::host::run::Run;
use crate::host::tensor::HostTensor;

pub fn execute(_: &Concat, run: &mut Run<'_>) -> Result<(), DeviceError> {
    run.produce(|x, [out]| {
        let mut next = 0;
        for operand in 0..x.count() {
            next = concat(operand, x.tensor(operand)?, next, out)?;
        }
        Ok(())
    })
}

/// Copies operand `operand` into the columns from `first` on; returns the next free column.
fn concat(operand: usize, input: &HostTensor, first: usize, out: &mut HostTensor) -> Result<usize, DeviceError> {
    let (columns, width) = (input.columns(), out.columns());
    expect(operand, input, input.rows() == out.rows() && first + columns <= width, || {
        format!("a part of {:?}", out.spec.shape)
    })?;
    copy_runs(operand, input, out, columns, (0..input.rows()).map(|r| (r * columns, r * width + first)))?;
    Ok(first + columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::{numbered, values};

    #[test]
    fn columns_lie_side_by_side() {
        let mut wide = numbered(&[1, 1, 2, 5]);
        let next = concat(0, &numbered(&[1, 1, 2, 3]), 0, &mut wide).unwrap();
        concat(1, &numbered(&[1, 1, 2, 2]), next, &mut wide).unwrap();
        assert_eq!(values(&wide), [0., 1., 2., 0., 1., 3., 4., 5., 2., 3.]);
    }
}
