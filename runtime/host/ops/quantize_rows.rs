//! `quantize_rows`: the integers of `ttnn.mul` by the f32 maxima of magnitudes, and these maxima.

use bitnetc_numerics::max_rows;
use bitnetc_plan::op::{Binary, BinaryKind, Destination, QuantizeRows};
use bitnetc_plan::{DType, MemoryConfig, Scalar, Unary};

use super::binary::binary;
use crate::DeviceError;
use crate::host::rows::settle;
use crate::host::run::Run;
use crate::host::tensor::{Data, HostTensor};

pub fn execute(op: &QuantizeRows, run: &mut Run<'_>) -> Result<(), DeviceError> {
    let exact = run.exact().then_some(run.device.arch);
    let product = Binary {
        kind: BinaryKind::Mul,
        a: op.input.clone(),
        b: op.input.clone(),
        a_activations: vec![],
        b_activations: vec![
            Unary::MaxScalar(op.floor.clone()),
            Unary::Recip,
            Unary::MulScalar(Scalar::constant(127.0)),
        ],
        activations: vec![Unary::Round, Unary::Clamp(-128.0, 127.0)],
        dtype: DType::Bf16,
        into: Destination::New(MemoryConfig::L1),
    };
    run.produce(|x, [integers, maxima]| {
        let input = x.tensor(0)?;
        largest(input, maxima)?;
        binary(&product, exact, (input, maxima), integers, &mut x.scratch.binary)
    })
}

fn largest(input: &HostTensor, maxima: &mut HostTensor) -> Result<(), DeviceError> {
    let (Data::Bf16(x), Data::F32(to)) = (&input.data, &mut maxima.data) else {
        return Err(input.unexpected(0, "bf16, and maxima in f32"));
    };
    let magnitudes: Vec<f32> = x.iter().map(|v| v.to_f32().abs()).collect();
    max_rows(&magnitudes, input.columns(), to)?;
    settle(maxima)
}
