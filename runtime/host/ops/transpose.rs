//! `ttnn.transpose`.

use bitnetc_plan::op::Transpose;

use crate::DeviceError;
use crate::host::movement::{copy_runs, expect};
use crate::host::run::Run;
use crate::host::tensor::HostTensor;

pub fn execute(op: &Transpose, run: &mut Run<'_>) -> Result<(), DeviceError> {
    run.produce(|x, [out]| transpose(x.tensor(0)?, op.dims, out))
}

/// Exchanges two dimensions.
fn transpose(input: &HostTensor, dims: (u32, u32), out: &mut HostTensor) -> Result<(), DeviceError> {
    let rank = input.spec.shape.len();
    // Axes count from the left of the tensor's own shape; move them to rank 4.
    let axis = |d: u32| 4 - rank.min(4) + d as usize;
    let (a, b) = (axis(dims.0), axis(dims.1));
    expect(0, input, a < 4 && b < 4, || format!("a rank that has dimensions {dims:?}"))?;
    let from: [usize; 4] = std::array::from_fn(|i| input.dim(i));
    let mut to = from;
    to.swap(a, b);
    let fits = (0..4).all(|i| out.dim(i) == to[i]);
    expect(0, input, fits, || format!("the transpose of {:?}", out.spec.shape))?;
    let strides: [usize; 4] = std::array::from_fn(|i| from[i + 1..].iter().product());
    let mut order = strides;
    order.swap(a, b);
    // Whole rows when the last dimension stays.
    let len = if a.max(b) == 3 { 1 } else { from[3] };
    let count = from.iter().product::<usize>().checked_div(len).unwrap_or(0);
    let runs = (0..count).map(|i| {
        let at = i * len;
        let index = [at / (to[1] * to[2] * to[3]), at / (to[2] * to[3]) % to[1], at / to[3] % to[2], at % to[3]];
        ((0..4).map(|d| index[d] * order[d]).sum(), at)
    });
    copy_runs(0, input, out, len, runs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::{numbered, values};

    #[test]
    fn transposes_of_every_pair() {
        let input = numbered(&[1, 2, 3, 4]);
        let at = |i: [usize; 4]| ((i[0] * 2 + i[1]) * 3 + i[2]) * 4 + i[3];
        for (dims, shape) in [((1u32, 2u32), [1u32, 3, 2, 4]), ((2, 3), [1, 2, 4, 3]), ((0, 1), [2, 1, 3, 4])] {
            let mut out = numbered(&shape);
            transpose(&input, dims, &mut out).unwrap();
            let got = values(&out);
            for (i, got) in got.into_iter().enumerate() {
                let s = shape.map(|d| d as usize);
                let mut index = [i / (s[1] * s[2] * s[3]), i / (s[2] * s[3]) % s[1], i / s[3] % s[2], i % s[3]];
                index.swap(dims.0 as usize, dims.1 as usize);
                assert_eq!(got, at(index) as f32);
            }
        }
    }
}
