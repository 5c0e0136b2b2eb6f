//! `ttnn.experimental.paged_fill_cache`.

use bitnetc_plan::op::CacheFill;

use super::{Lowering, operand};
use crate::call::PyCall;

pub fn lower(args: &CacheFill, step: &Lowering<'_>) -> PyCall {
    step.on(&args.cache).arg(operand(&args.input)).arg(operand(&args.pages)).kwarg("batch_idx", 0)
}
