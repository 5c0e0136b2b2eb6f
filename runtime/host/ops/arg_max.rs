//! `ttnn.argmax` over the last dimension, into a buffer: the first of the largest elements of each row.

use bitnetc_numerics::argmax_rows;
use bitnetc_plan::op::ArgMax;

use crate::DeviceError;
use crate::host::rows::floats;
use crate::host::run::Run;
use crate::host::tensor::{Data, HostTensor};

pub fn execute(_: &ArgMax, run: &mut Run<'_>) -> Result<(), DeviceError> {
    run.change(1, |x, out| arg_max(x.tensor(0)?, out))
}

/// Writes the first of the largest elements of each row.
pub(super) fn arg_max(input: &HostTensor, out: &mut HostTensor) -> Result<(), DeviceError> {
    let (rows, columns) = (input.rows(), input.columns());
    match &mut out.data {
        Data::Integer(tokens) if tokens.len() >= rows => floats!(&input.data, input.unexpected(0, "floats"), x => {
            Ok(argmax_rows(x, columns, &mut tokens[..rows])?)
        }),
        Data::Integer(_) | Data::Bf16(_) | Data::F32(_) => Err(out.unexpected(1, format!("{rows} integers or more"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::tensor;
    use bitnetc_plan::DType;

    #[test]
    fn the_first_of_the_largest() {
        let x = tensor(&[1, 1, 2, 4], DType::F32, &[3.0, -4.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
        let mut tokens = tensor(&[1, 1, 2], DType::U32, &[]);
        arg_max(&x, &mut tokens).unwrap();
        assert_eq!(tokens.integers(0).unwrap(), [0, 0]);
    }
}
