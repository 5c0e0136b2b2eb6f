//! `ttnn.add` and `ttnn.mul`, with functions fused onto operands and result.
//!
//! Exact numerics of bf16 operands and results are [`kernels::binary`]. Otherwise two roundings of TT-NN's binary kernel are kept that a single
//! fp32 expression would not have: an operand with functions fused onto it passes through a buffer of its own data type, and a result of two
//! bf16 operands is bf16 before the functions fused onto it, since the destination register is. With an f32 operand that register is fp32.
//! Everything else is fp32 inside and rounded once.

use bitnetc_numerics as numerics;
use bitnetc_numerics::{Broadcast, Chains, Element, kernels};
use bitnetc_plan::op::{Binary, BinaryKind, Destination};
use bitnetc_plan::{Arch, Unary};
use half::bf16;

use crate::DeviceError;
use crate::host::rows::settle;
use crate::host::run::{Operands, Run};
use crate::host::tensor::{Data, HostTensor};

/// Buffers that sums and products reuse.
#[derive(Debug, Default)]
pub struct BinaryScratch {
    a: Buffer,
    b: Buffer,
    result: Vec<bf16>,
    a_chain: Vec<numerics::Function>,
    b_chain: Vec<numerics::Function>,
    out_chain: Vec<numerics::Function>,
}

/// An operand after the functions fused onto it.
#[derive(Debug, Default)]
struct Buffer {
    bf16: Vec<bf16>,
    f32: Vec<f32>,
}

pub fn execute(op: &Binary, run: &mut Run<'_>) -> Result<(), DeviceError> {
    let exact = run.exact().then_some(run.device.arch);
    let compute = |x: &mut Operands<'_>, out: &mut HostTensor| {
        binary(op, exact, (x.tensor(0)?, x.tensor(1)?), out, &mut x.scratch.binary)
    };
    match &op.into {
        Destination::New(_) => run.produce(|x, [out]| compute(x, out)),
        Destination::InPlace => run.replace(0, compute),
    }
}

fn translate(functions: &[Unary], chain: &mut Vec<numerics::Function>) {
    chain.clear();
    chain.extend(functions.iter().map(|function| match function {
        Unary::Relu => numerics::Function::Relu,
        Unary::Square => numerics::Function::Square,
        Unary::Silu => numerics::Function::Silu,
        Unary::Recip => numerics::Function::Recip,
        Unary::MulScalar(scalar) => numerics::Function::Mul(scalar.value as f32),
        Unary::MaxScalar(least) => numerics::Function::Maximum(least.value as f32),
        Unary::Round => numerics::Function::Round,
        Unary::Clamp(low, high) => numerics::Function::Clamp(*low, *high),
        Unary::Abs => numerics::Function::Abs,
        Unary::Power(power) => numerics::Function::Power(*power),
    }));
}

/// An operand after its functions, in its own data type.
enum Prepared<'a> {
    Bf16(&'a [bf16]),
    F32(&'a [f32]),
}

fn prepare<'a>(
    operand: usize,
    tensor: &'a HostTensor,
    chain: &[numerics::Function],
    exact: Option<Arch>,
    buffer: &'a mut Buffer,
) -> Result<Prepared<'a>, DeviceError> {
    match &tensor.data {
        Data::Bf16(x) if chain.is_empty() => Ok(Prepared::Bf16(x)),
        Data::F32(x) if chain.is_empty() => Ok(Prepared::F32(x)),
        Data::Bf16(x) => {
            buffer.bf16.resize(x.len(), bf16::ZERO);
            numerics::unary(chain, x, &mut buffer.bf16)?;
            Ok(Prepared::Bf16(&buffer.bf16))
        }
        Data::F32(x) => {
            buffer.f32.resize(x.len(), 0.0);
            match exact {
                Some(arch) => kernels::unary_f32(chain, arch, x, &mut buffer.f32)?,
                None => numerics::unary(chain, x, &mut buffer.f32)?,
            }
            Ok(Prepared::F32(&buffer.f32))
        }
        Data::Integer(_) => Err(tensor.unexpected(operand, "floats")),
    }
}

/// `b` may have one column or one row, which then serves all. `exact` is the chip whose kernels' bits the result is to have.
pub fn binary(
    op: &Binary,
    exact: Option<Arch>,
    (a, b): (&HostTensor, &HostTensor),
    out: &mut HostTensor,
    scratch: &mut BinaryScratch,
) -> Result<(), DeviceError> {
    let (rows, columns) = (out.rows(), out.columns());
    let broadcast = match (b.rows() == rows, b.columns() == columns) {
        (true, true) => Broadcast::None,
        (true, false) => Broadcast::Column,
        (false, _) => Broadcast::Row,
    };
    if a.rows() != rows || a.columns() != columns {
        return Err(a.unexpected(0, format!("{rows} rows of {columns}")));
    }
    let fits = match broadcast {
        Broadcast::None => true,
        Broadcast::Column => b.columns() == 1,
        Broadcast::Row => (b.rows(), b.columns()) == (1, columns),
    };
    if !fits {
        return Err(b.unexpected(1, format!("{rows} rows or 1 of {columns}, or of 1")));
    }
    let BinaryScratch { a: a_buffer, b: b_buffer, result, a_chain, b_chain, out_chain } = scratch;
    translate(&op.a_activations, a_chain);
    translate(&op.b_activations, b_chain);
    translate(&op.activations, out_chain);
    let kind = match op.kind {
        BinaryKind::Add => numerics::Binary::Add,
        BinaryKind::Mul => numerics::Binary::Mul,
    };
    if let (Some(arch), Data::Bf16(a), Data::Bf16(b), Data::Bf16(to)) = (exact, &a.data, &b.data, &mut out.data) {
        let chains = Chains { a: a_chain, b: b_chain, out: out_chain };
        kernels::binary(kind, a, b, (broadcast, columns), chains, arch, to)?;
        return settle(out);
    }
    let a = prepare(0, a, a_chain, exact, a_buffer)?;
    let b = prepare(1, b, b_chain, exact, b_buffer)?;
    let how = (kind, broadcast, columns);
    match &mut out.data {
        Data::F32(to) => combine(how, &a, &b, out_chain, to)?,
        Data::Bf16(to) if matches!((&a, &b), (Prepared::F32(_), _) | (_, Prepared::F32(_))) => {
            combine(how, &a, &b, out_chain, to)?;
        }
        Data::Bf16(to) if out_chain.is_empty() => combine(how, &a, &b, &[], to)?,
        Data::Bf16(to) => {
            result.resize(rows * columns, bf16::ZERO);
            combine(how, &a, &b, &[], result)?;
            numerics::unary(out_chain, result, to)?;
        }
        Data::Integer(_) => return Err(out.unexpected(2, "floats")),
    }
    settle(out)
}

fn combine<O: Element>(
    (kind, broadcast, columns): (numerics::Binary, Broadcast, usize),
    a: &Prepared<'_>,
    b: &Prepared<'_>,
    chain: &[numerics::Function],
    out: &mut [O],
) -> Result<(), numerics::NumericsError> {
    let (shape, chains) = ((broadcast, columns), Chains { a: &[], b: &[], out: chain });
    match (a, b) {
        (Prepared::Bf16(a), Prepared::Bf16(b)) => numerics::binary(kind, a, b, shape, chains, out),
        (Prepared::Bf16(a), Prepared::F32(b)) => numerics::binary(kind, a, b, shape, chains, out),
        (Prepared::F32(a), Prepared::Bf16(b)) => numerics::binary(kind, a, b, shape, chains, out),
        (Prepared::F32(a), Prepared::F32(b)) => numerics::binary(kind, a, b, shape, chains, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::{tensor, values};
    use bitnetc_plan::op::Ref;
    use bitnetc_plan::{DType, MemoryConfig, Scalar};

    fn op(kind: BinaryKind, b_activations: Vec<Unary>, activations: Vec<Unary>, dtype: DType) -> Binary {
        let value = |n: &str| Ref::Value(n.into());
        let into = Destination::New(MemoryConfig::L1);
        Binary { kind, a: value("a"), b: value("b"), a_activations: vec![], b_activations, activations, dtype, into }
    }

    fn run(op: &Binary, a: &HostTensor, b: &HostTensor) -> Vec<f32> {
        let mut out = tensor(&a.spec.shape, op.dtype, &[]);
        binary(op, None, (a, b), &mut out, &mut BinaryScratch::default()).unwrap();
        values(&out)
    }

    #[test]
    fn activations_are_quantised_as_bitnet_does() {
        let x = tensor(&[1, 1, 1, 4], DType::F32, &[0.5, -2.0, 1.0, 0.1]);
        let m = tensor(&[1, 1, 1, 1], DType::F32, &[2.0]);
        let scale =
            vec![Unary::MaxScalar(Scalar::constant(1e-5)), Unary::Recip, Unary::MulScalar(Scalar::constant(127.0))];
        let quantise = op(BinaryKind::Mul, scale, vec![Unary::Round, Unary::Clamp(-128.0, 127.0)], DType::F32);
        assert_eq!(run(&quantise, &x, &m), [32.0, -127.0, 64.0, 6.0]);
        let zero = tensor(&[1, 1, 1, 1], DType::F32, &[0.0]);
        assert_eq!(run(&quantise, &x, &zero), [127.0, -128.0, 127.0, 127.0]);
    }

    /// The integers of TT-NN's kernel on the simulator: with an f32 maximum a product is rounded once, and the largest of a row is 127.
    #[test]
    fn an_f32_maximum_keeps_a_product_f32_until_it_is_an_integer() {
        let scale =
            vec![Unary::MaxScalar(Scalar::constant(1e-5)), Unary::Recip, Unary::MulScalar(Scalar::constant(127.0))];
        let quantise = op(BinaryKind::Mul, scale, vec![Unary::Round, Unary::Clamp(-128.0, 127.0)], DType::Bf16);
        let x = tensor(&[1, 1, 1, 3], DType::Bf16, &[1.796_875, -1.4375, 0.9]);
        let integers = |dtype| run(&quantise, &x, &tensor(&[1, 1, 1, 1], dtype, &[1.796_875]));
        assert_eq!(integers(DType::F32), [127.0, -102.0, 64.0]);
        let mut out = tensor(&x.spec.shape, DType::Bf16, &[]);
        let m = tensor(&[1, 1, 1, 1], DType::Bf16, &[1.796_875]);
        binary(&quantise, Some(Arch::Wormhole), (&x, &m), &mut out, &mut BinaryScratch::default()).unwrap();
        assert_eq!(values(&out)[0], 126.0);
    }

    #[test]
    fn a_bias_is_added_to_every_row() {
        let x = tensor(&[1, 1, 2, 2], DType::Bf16, &[1.0, 2.0, 3.0, 4.0]);
        let bias = tensor(&[1, 1, 1, 2], DType::Bf16, &[10.0, 20.0]);
        assert_eq!(run(&op(BinaryKind::Add, vec![], vec![], DType::Bf16), &x, &bias), [11.0, 22.0, 13.0, 24.0]);
    }

    #[test]
    fn a_fused_operand_passes_through_its_own_data_type() {
        let x = tensor(&[1, 1, 1, 1], DType::F32, &[300.0]);
        let m = |dtype| tensor(&[1, 1, 1, 1], dtype, &[3.0]);
        let third = op(BinaryKind::Mul, vec![Unary::Recip], vec![], DType::F32);
        assert_eq!(run(&third, &x, &m(DType::F32)), [100.0]);
        assert_eq!(run(&third, &x, &m(DType::Bf16)), [half::bf16::from_f32(1.0 / 3.0).to_f32() * 300.0]);
    }

    #[test]
    fn a_bf16_sum_rounds_and_an_f32_sum_does_not() {
        let a = |dtype| tensor(&[1, 1, 2, 1], dtype, &[256.0, 1.0]);
        let b = |dtype| tensor(&[1, 1, 2, 1], dtype, &[3.0, 2.0]);
        for (dtype, want) in [(DType::Bf16, 260.0), (DType::F32, 259.0)] {
            assert_eq!(run(&op(BinaryKind::Add, vec![], vec![], dtype), &a(dtype), &b(dtype)), [want, 3.0]);
        }
        let mut wrong = tensor(&[1, 1, 3, 1], DType::F32, &[0.0; 3]);
        let add = op(BinaryKind::Add, vec![], vec![], DType::F32);
        let refused = binary(&add, None, (&a(DType::F32), &b(DType::F32)), &mut wrong, &mut BinaryScratch::default());
        assert!(matches!(refused, Err(DeviceError::Operand { operand: 0, .. })));
    }
}
