//! `ttnn.add` and `ttnn.mul`, with functions on operands and result.

use bitnetc_plan::op::{Binary, Destination};
use bitnetc_plan::{Scalar, Unary};

use super::{Lowering, dtype, operand};
use crate::call::{Expr, PyCall};
use crate::tensor::memory_config;

/// Scalars are counted over the operands' functions, then the result's, as [`bitnetc_plan::Op::scalars`] does.
pub fn lower(args: &Binary, step: &Lowering<'_>) -> PyCall {
    let mut count = 0;
    let mut functions = |list: &[Unary]| {
        let items = list.iter().map(|unary| function(unary, &mut count, step)).collect();
        (!list.is_empty()).then_some(Expr::List(items))
    };
    let (a, b, result) = (functions(&args.a_activations), functions(&args.b_activations), functions(&args.activations));
    let call = step
        .on(&args.a)
        .arg(operand(&args.b))
        .maybe("input_tensor_a_activations", a)
        .maybe("input_tensor_b_activations", b)
        .maybe("activations", result)
        .kwarg("dtype", dtype(args.dtype));
    match &args.into {
        Destination::New(memory) => call.kwarg("memory_config", memory_config(memory)),
        Destination::InPlace => call.kwarg("output_tensor", operand(&args.a)),
    }
}

fn function(unary: &Unary, count: &mut usize, step: &Lowering<'_>) -> Expr {
    let of = |name: &str| PyCall::ttnn("UnaryWithParam").arg(Expr::ttnn(format!("UnaryOpType.{name}")));
    let mut numbered = |s: &Scalar| {
        let value = step.scalar(*count, s);
        *count += 1;
        value
    };
    match unary {
        Unary::Relu => of("RELU"),
        Unary::Square => of("SQUARE"),
        Unary::Silu => of("SILU"),
        Unary::Recip => of("RECIP"),
        Unary::Abs => of("ABS"),
        Unary::Power(power) => of("POWER_ITERATIVE").arg(Expr::Int(i64::from(*power))),
        Unary::MulScalar(s) => of("MUL_UNARY_SFPU").arg(numbered(s)),
        Unary::MaxScalar(s) => of("MAXIMUM").arg(numbered(s)),
        Unary::Round => of("ROUND").arg(Expr::Int(0)),
        Unary::Clamp(low, high) => of("CLAMP_TSS").arg(f64::from(*low)).arg(f64::from(*high)),
    }
    .into()
}
