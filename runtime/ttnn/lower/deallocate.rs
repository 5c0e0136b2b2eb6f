//! `ttnn.deallocate`.

use bitnetc_plan::op::Deallocate;

use super::Lowering;
use crate::call::PyCall;

pub fn lower(args: &Deallocate, step: &Lowering<'_>) -> PyCall {
    step.on(&args.input)
}
