//! `ttnn.experimental.rotary_embedding_llama` of a prompt: `[1, H, S, D]` by tables `[1, 1, S, D]`.

use bitnetc_plan::op::Rotary;

use crate::DeviceError;
use crate::host::rotate::{Tables, rotate};
use crate::host::run::Run;
use crate::host::tensor::HostTensor;

pub fn execute(_: &Rotary, run: &mut Run<'_>) -> Result<(), DeviceError> {
    run.produce(|x, [out]| prefill(x.tensor(0)?, Tables::of(x, 1)?, out))
}

fn prefill(input: &HostTensor, tables: Tables<'_>, out: &mut HostTensor) -> Result<(), DeviceError> {
    let rows = input.dim(2);
    rotate(input, tables, rows, |row| row % rows, out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::rotate::by_user;
    use crate::host::testing::{tensor, values};
    use bitnetc_plan::DType;

    #[test]
    fn decode_and_prefill_rotate_alike() {
        let (cos, sin) =
            (tensor(&[1, 1, 4, 2], DType::Bf16, &[0.5; 8]), tensor(&[1, 1, 4, 2], DType::Bf16, &[0.25; 8]));
        let x = tensor(&[1, 1, 4, 2], DType::Bf16, &[1., 2., 3., 4., 5., 6., 7., 8.]);
        let mut all = tensor(&[1, 1, 4, 2], DType::Bf16, &[]);
        prefill(&x, Tables { operand: 1, cos: &cos, sin: &sin }, &mut all).unwrap();
        assert_eq!(values(&all)[..4], [0.0, 1.25, 0.5, 2.75]);
        let matrices = |t: &HostTensor| tensor(&[1, 4, 1, 2], DType::Bf16, &values(t));
        let (cos, sin) = (matrices(&cos), matrices(&sin));
        let tables = Tables { operand: 2, cos: &cos, sin: &sin };
        let q = tensor(&[1, 2, 1, 2], DType::Bf16, &values(&x)[4..]);
        let mut decode = tensor(&[1, 2, 1, 2], DType::Bf16, &[]);
        by_user(&q, tables, 2, &mut decode).unwrap();
        assert_eq!(values(&decode), values(&all)[4..]);
        assert!(by_user(&q, tables, 3, &mut decode).is_err());
    }
}
