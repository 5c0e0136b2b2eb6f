//! `ttnn.argmax` of each row, into a buffer.

use bitnetc_plan::op::ArgMax;

use super::{Lowering, operand};
use crate::call::{Expr, PyCall};

pub fn lower(args: &ArgMax, step: &Lowering<'_>) -> PyCall {
    step.on(&args.input)
        .kwarg("dim", Expr::Int(3))
        .kwarg("keepdim", false)
        .kwarg("output_tensor", operand(&args.output))
}
