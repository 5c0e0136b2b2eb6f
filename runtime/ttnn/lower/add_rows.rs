//! `add_rows`, a function of bitnetc's own that calls `ttnn.generic_op`.

use bitnetc_plan::op::AddRows;

use super::{Lowering, operand};
use crate::call::PyCall;

pub fn lower(args: &AddRows, step: &Lowering<'_>) -> PyCall {
    PyCall::kernels("add_rows")
        .arg(operand(&args.a))
        .arg(operand(&args.b))
        .arg(operand(&args.factors))
        .kwarg("floor", step.scalar(0, &args.floor))
        .kwarg("scale", step.scalar(1, &args.scale))
}
