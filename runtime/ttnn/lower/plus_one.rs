//! `ttnn.plus_one`.

use bitnetc_plan::op::PlusOne;

use super::Lowering;
use crate::call::PyCall;

pub fn lower(args: &PlusOne, step: &Lowering<'_>) -> PyCall {
    step.on(&args.buffer).maybe("skip_negative_entries", args.skip_negative.then_some(true))
}
