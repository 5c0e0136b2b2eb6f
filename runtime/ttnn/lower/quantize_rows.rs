//! `quantize_rows`, a function of bitnetc's own that calls `ttnn.generic_op`.

use bitnetc_plan::op::QuantizeRows;

use super::{Lowering, operand};
use crate::call::PyCall;

pub fn lower(args: &QuantizeRows, step: &Lowering<'_>) -> PyCall {
    PyCall::kernels("quantize_rows").arg(operand(&args.input)).kwarg("floor", step.scalar(0, &args.floor))
}
