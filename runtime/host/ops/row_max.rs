//! `ttnn.max` over the last dimension.

use bitnetc_numerics::max_rows;
use bitnetc_plan::op::RowMax;

use crate::DeviceError;
use crate::host::rows::{floats, settle};
use crate::host::run::Run;
use crate::host::tensor::HostTensor;

pub fn execute(_: &RowMax, run: &mut Run<'_>) -> Result<(), DeviceError> {
    run.produce(|x, [out]| row_max(x.tensor(0)?, out))
}

/// Writes the largest element of each row.
pub(super) fn row_max(input: &HostTensor, out: &mut HostTensor) -> Result<(), DeviceError> {
    let columns = input.columns();
    floats!(&input.data, input.unexpected(0, "floats"), x => {
        floats!(&mut out.data, out.unexpected(1, "floats"), to => Ok(max_rows(x, columns, to)?))
    })?;
    settle(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::{tensor, values};
    use bitnetc_plan::DType;

    #[test]
    fn the_largest_of_each_row() {
        let x = tensor(&[1, 1, 2, 4], DType::F32, &[3.0, -4.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
        let mut max = tensor(&[1, 1, 2, 1], DType::Bf16, &[0.0; 2]);
        row_max(&x, &mut max).unwrap();
        assert_eq!(values(&max), [3.0, 1.0]);
    }
}
