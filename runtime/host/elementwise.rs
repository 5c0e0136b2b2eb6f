//! Elementwise calls, norms, reductions and rotary embedding: `bitnetc_numerics` on host tensors.
//!
//! Two roundings of TT-NN's binary kernel are kept that a single fp32 expression would not have: an operand with functions fused onto it
//! passes through a buffer of its own data type, and a result that is not f32 is bf16 before the functions fused onto it. Everything
//! else is fp32 inside and rounded once; how far a card may be from that is said beside each routine of `bitnetc_numerics`.

use bitnetc_numerics as numerics;
use bitnetc_numerics::{Broadcast, Chains, Element, Pairing, cast_through};
use bitnetc_plan::Unary;
use bitnetc_plan::op::{Binary, BinaryKind};
use half::bf16;
use rayon::prelude::*;

use super::tensor::{Data, HostTensor, elements};
use crate::DeviceError;
use crate::weights::bytes::format_of;

/// Buffers that binary calls reuse.
#[derive(Debug, Default)]
pub struct ElementScratch {
    a: Operand,
    b: Operand,
    result: Vec<bf16>,
    a_chain: Vec<numerics::Unary>,
    b_chain: Vec<numerics::Unary>,
    out_chain: Vec<numerics::Unary>,
}

#[derive(Debug, Default)]
struct Operand {
    bf16: Vec<bf16>,
    f32: Vec<f32>,
}

/// Runs `$body` with `$x` the slice of floats in `$data`, whichever they are.
macro_rules! floats {
    ($data:expr, $error:expr, $x:ident => $body:expr) => {
        match $data {
            Data::Bf16($x) => $body,
            Data::F32($x) => $body,
            Data::Integer(_) => Err($error),
        }
    };
}

/// Rounds a result in a block format to its groups.
pub fn settle(out: &mut HostTensor) -> Result<(), DeviceError> {
    let columns = out.columns();
    if let (Data::Bf16(data), true, Some(format)) =
        (&mut out.data, out.spec.dtype.is_block(), format_of(out.spec.dtype))
    {
        cast_through(format, columns, data)?;
    }
    Ok(())
}

fn translate(functions: &[Unary], chain: &mut Vec<numerics::Unary>) {
    chain.clear();
    chain.extend(functions.iter().map(|function| match function {
        Unary::Relu => numerics::Unary::Relu,
        Unary::Square => numerics::Unary::Square,
        Unary::Silu => numerics::Unary::Silu,
        Unary::Recip => numerics::Unary::Recip,
        Unary::MulScalar(scalar) => numerics::Unary::Mul(scalar.value as f32),
        Unary::MaxScalar(least) => numerics::Unary::Maximum(least.value as f32),
        Unary::Round => numerics::Unary::Round,
        Unary::Clamp(low, high) => numerics::Unary::Clamp(*low, *high),
        Unary::Abs => numerics::Unary::Abs,
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
    chain: &[numerics::Unary],
    buffer: &'a mut Operand,
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
            numerics::unary(chain, x, &mut buffer.f32)?;
            Ok(Prepared::F32(&buffer.f32))
        }
        Data::Integer(_) => Err(tensor.unexpected(operand, "floats")),
    }
}

/// `ttnn.add` and `ttnn.mul`; `b` may have one column, which then serves all.
pub fn binary(
    op: &Binary,
    a: &HostTensor,
    b: &HostTensor,
    out: &mut HostTensor,
    scratch: &mut ElementScratch,
) -> Result<(), DeviceError> {
    let (rows, columns) = (out.rows(), out.columns());
    let broadcast = if b.columns() == columns { Broadcast::None } else { Broadcast::Column };
    if a.rows() != rows || a.columns() != columns {
        return Err(a.unexpected(0, format!("{rows} rows of {columns}")));
    }
    if b.rows() != rows || (broadcast == Broadcast::Column && b.columns() != 1) {
        return Err(b.unexpected(1, format!("{rows} rows of {columns} or 1")));
    }
    let ElementScratch { a: a_buffer, b: b_buffer, result, a_chain, b_chain, out_chain } = scratch;
    translate(&op.a_activations, a_chain);
    translate(&op.b_activations, b_chain);
    translate(&op.activations, out_chain);
    let a = prepare(0, a, a_chain, a_buffer)?;
    let b = prepare(1, b, b_chain, b_buffer)?;
    let kind = match op.kind {
        BinaryKind::Add => numerics::Binary::Add,
        BinaryKind::Mul => numerics::Binary::Mul,
    };
    let how = (kind, broadcast, columns);
    match &mut out.data {
        Data::F32(to) => combine(how, &a, &b, out_chain, to)?,
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
    chain: &[numerics::Unary],
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

/// `ttnn.abs`.
pub fn abs(input: &HostTensor, out: &mut HostTensor) -> Result<(), DeviceError> {
    map(&[numerics::Unary::Abs], input, out)
}

/// `ttnn.typecast` between float types.
pub fn typecast(input: &HostTensor, out: &mut HostTensor) -> Result<(), DeviceError> {
    map(&[], input, out)
}

fn map(functions: &[numerics::Unary], input: &HostTensor, out: &mut HostTensor) -> Result<(), DeviceError> {
    let (wrong_in, wrong_out) = (input.unexpected(0, "floats"), out.unexpected(1, "floats"));
    floats!(&input.data, wrong_in, x => floats!(&mut out.data, wrong_out, to => Ok(numerics::unary(functions, x, to)?)))?;
    settle(out)
}

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

/// Prefill's rotary embedding: `[1, H, S, D]` by tables `[1, 1, S, D]`.
pub fn rotary(input: &HostTensor, cos: &HostTensor, sin: &HostTensor, out: &mut HostTensor) -> Result<(), DeviceError> {
    let rows = input.dim(2);
    rotate(input, 1, (cos, sin), rows, |row| row % rows, out)
}

/// Decode's: `[1, B, heads, D]` by tables `[1, 2B, rows, D]`, of which user `b` uses the first row of matrix `first + b`.
pub fn rotary_users(
    input: &HostTensor,
    first: usize,
    cos: &HostTensor,
    sin: &HostTensor,
    out: &mut HostTensor,
) -> Result<(), DeviceError> {
    let (users, heads, table_rows) = (input.dim(1), input.dim(2), cos.dim(2));
    rotate(input, 2, (cos, sin), (first + users) * table_rows, |row| (first + row / heads) * table_rows, out)
}

/// Decode's of q or k alone: `[1, B, heads, D]` by tables `[1, B, rows, D]`.
pub fn rotary_one(
    input: &HostTensor,
    cos: &HostTensor,
    sin: &HostTensor,
    out: &mut HostTensor,
) -> Result<(), DeviceError> {
    let (users, heads, table_rows) = (input.dim(1), input.dim(2), cos.dim(2));
    rotate(input, 1, (cos, sin), users * table_rows, |row| row / heads * table_rows, out)
}

fn rotate(
    input: &HostTensor,
    tables: usize,
    (cos, sin): (&HostTensor, &HostTensor),
    rows: usize,
    table_row: impl Fn(usize) -> usize + Sync,
    out: &mut HostTensor,
) -> Result<(), DeviceError> {
    let columns = input.columns();
    if out.spec.shape != input.spec.shape {
        return Err(input.unexpected(0, format!("shape {:?}", out.spec.shape)));
    }
    for (operand, table) in [(tables, cos), (tables + 1, sin)] {
        if table.rows() < rows || table.columns() != columns {
            return Err(table.unexpected(operand, format!("{rows} rows of {columns}")));
        }
    }
    let x = input.bf16(0)?;
    let (cos, sin) = (cos.bf16(tables)?, sin.bf16(tables + 1)?);
    let wrong = out.unexpected(tables + 2, "bf16");
    let Data::Bf16(to) = &mut out.data else { return Err(wrong) };
    to.par_chunks_mut(columns).with_min_len(64).enumerate().try_for_each(|(row, to)| {
        let at = table_row(row) * columns..(table_row(row) + 1) * columns;
        let x = &x[row * columns..(row + 1) * columns];
        numerics::rotary(Pairing::Adjacent, x, &cos[at.clone()], &sin[at], to)
    })?;
    settle(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tensor::Pool;
    use bitnetc_plan::op::{Destination, Ref};
    use bitnetc_plan::{DType, MemoryConfig, Scalar, TensorSpec};
    use std::sync::Arc;

    fn tensor(shape: &[u32], dtype: DType, values: &[f32]) -> HostTensor {
        let spec = Arc::new(TensorSpec::tile(shape, dtype, MemoryConfig::L1));
        let mut tensor = Pool::default().zeros(&spec).unwrap();
        tensor.write_at(0, &mut values.to_vec());
        tensor
    }

    fn values(tensor: &HostTensor) -> Vec<f32> {
        let mut out = vec![0.0; elements(&tensor.spec)];
        tensor.read_at(0, &mut out);
        out
    }

    fn op(kind: BinaryKind, b_activations: Vec<Unary>, activations: Vec<Unary>, dtype: DType) -> Binary {
        let value = |n: &str| Ref::Value(n.into());
        let into = Destination::New(MemoryConfig::L1);
        Binary { kind, a: value("a"), b: value("b"), a_activations: vec![], b_activations, activations, dtype, into }
    }

    fn run(op: &Binary, a: &HostTensor, b: &HostTensor) -> Vec<f32> {
        let mut out = tensor(&a.spec.shape, op.dtype, &[]);
        binary(op, a, b, &mut out, &mut ElementScratch::default()).unwrap();
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
        let refused = binary(&add, &a(DType::F32), &b(DType::F32), &mut wrong, &mut ElementScratch::default());
        assert!(matches!(refused, Err(DeviceError::Operand { operand: 0, .. })));
    }

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

    #[test]
    fn decode_and_prefill_rotate_alike() {
        let (cos, sin) =
            (tensor(&[1, 1, 4, 2], DType::Bf16, &[0.5; 8]), tensor(&[1, 1, 4, 2], DType::Bf16, &[0.25; 8]));
        let x = tensor(&[1, 1, 4, 2], DType::Bf16, &[1., 2., 3., 4., 5., 6., 7., 8.]);
        let mut prefill = tensor(&[1, 1, 4, 2], DType::Bf16, &[]);
        rotary(&x, &cos, &sin, &mut prefill).unwrap();
        assert_eq!(values(&prefill)[..4], [0.0, 1.25, 0.5, 2.75]);
        let by_user = |t: &HostTensor| tensor(&[1, 4, 1, 2], DType::Bf16, &values(t));
        let q = tensor(&[1, 2, 1, 2], DType::Bf16, &values(&x)[4..]);
        let mut decode = tensor(&[1, 2, 1, 2], DType::Bf16, &[]);
        rotary_users(&q, 2, &by_user(&cos), &by_user(&sin), &mut decode).unwrap();
        assert_eq!(values(&decode), values(&prefill)[4..]);
        assert!(rotary_users(&q, 3, &by_user(&cos), &by_user(&sin), &mut decode).is_err());
    }
}
