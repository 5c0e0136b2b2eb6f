//! `ttnn.manual_seed` of each user's core.

use bitnetc_plan::op::ManualSeed;

use super::{Lowering, operand};
use crate::call::PyCall;

pub fn lower(args: &ManualSeed, step: &Lowering<'_>) -> PyCall {
    step.call().kwarg("seeds", operand(&args.seeds)).kwarg("user_ids", operand(&args.generators))
}
