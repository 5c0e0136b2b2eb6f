//! `ttnn.copy`, into a buffer.

use bitnetc_plan::op::CopyInto;

use super::{Lowering, operand};
use crate::call::PyCall;

pub fn lower(args: &CopyInto, step: &Lowering<'_>) -> PyCall {
    step.on(&args.input).arg(operand(&args.output))
}
