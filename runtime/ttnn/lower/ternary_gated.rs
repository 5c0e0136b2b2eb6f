//! `ternary_gated`, a function of bitnetc's own that calls `ttnn.generic_op`.

use bitnetc_plan::DType;
use bitnetc_plan::op::TernaryGated;

use super::ternary_linear::options;
use super::{Lowering, operand};
use crate::call::PyCall;

pub fn lower(args: &TernaryGated, _: &Lowering<'_>) -> PyCall {
    let call = PyCall::kernels("ternary_gated").arg(operand(&args.a)).arg(operand(&args.gate)).arg(operand(&args.up));
    options(call, &args.program, args.compute, DType::Bf16, &args.memory)
}
