//! Norms and reductions of rows: `bitnetc_numerics` on host tensors.

use bitnetc_numerics as numerics;

use super::rows::{floats, settle};
use super::tensor::{Data, HostTensor, elements};
use crate::DeviceError;

/// `ttnn.max` over the last dimension.
pub fn row_max(input: &HostTensor, out: &mut HostTensor) -> Result<(), DeviceError> {
    let columns = input.columns();
    let (wrong_in, wrong_out) = (input.unexpected(0, "floats"), out.unexpected(1, "floats"));
    floats!(&input.data, wrong_in, x => {
        floats!(&mut out.data, wrong_out, to => Ok(numerics::max_rows(x, columns, to)?))
    })?;
    settle(out)
}

/// `ttnn.rms_norm`; `gamma` has an element for each column, in whatever shape.
pub fn rms_norm(input: &HostTensor, gamma: &HostTensor, epsilon: f64, out: &mut HostTensor) -> Result<(), DeviceError> {
    let columns = input.columns();
    if elements(&gamma.spec) != columns {
        return Err(gamma.unexpected(1, format!("{columns} elements")));
    }
    let wrong = [input.unexpected(0, "floats"), gamma.unexpected(1, "floats"), out.unexpected(2, "floats")];
    let [wrong_in, wrong_gamma, wrong_out] = wrong;
    let epsilon = epsilon as f32;
    floats!(&input.data, wrong_in, x => floats!(&gamma.data, wrong_gamma, g => {
        floats!(&mut out.data, wrong_out, to => Ok(numerics::rms_norm(x, g, epsilon, to)?))
    }))?;
    settle(out)
}

/// `ttnn.argmax` over the last dimension: the first of the largest.
pub fn argmax(input: &HostTensor, out: &mut HostTensor) -> Result<(), DeviceError> {
    let (rows, columns) = (input.rows(), input.columns());
    let (wrong_in, wrong_out) = (input.unexpected(0, "floats"), out.unexpected(1, format!("{rows} integers or more")));
    let Data::Integer(tokens) = &mut out.data else { return Err(wrong_out) };
    let Some(tokens) = tokens.get_mut(..rows) else { return Err(wrong_out) };
    floats!(&input.data, wrong_in, x => Ok(numerics::argmax_rows(x, columns, tokens)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::{tensor, values};
    use bitnetc_plan::DType;

    #[test]
    fn norms_and_maxima() {
        let x = tensor(&[1, 1, 2, 4], DType::F32, &[3.0, -4.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
        let gamma = tensor(&[1, 1, 1, 4], DType::F32, &[1.0, 1.0, 1.0, 2.0]);
        let mut out = tensor(&[1, 1, 2, 4], DType::F32, &[0.0; 8]);
        rms_norm(&x, &gamma, 0.0, &mut out).unwrap();
        let want = [1.2, -1.6, 0.0, 0.0, 1.0, 1.0, 1.0, 2.0];
        assert!(values(&out).iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6));
        let mut max = tensor(&[1, 1, 2, 1], DType::Bf16, &[0.0; 2]);
        row_max(&x, &mut max).unwrap();
        assert_eq!(values(&max), [3.0, 1.0]);
        let mut tokens = tensor(&[1, 1, 2], DType::U32, &[]);
        argmax(&x, &mut tokens).unwrap();
        assert_eq!(tokens.integers(0).unwrap(), [0, 0]);
    }
}
