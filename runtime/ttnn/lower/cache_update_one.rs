//! `ttnn.experimental.paged_update_cache`.

use bitnetc_plan::op::CacheUpdateOne;

use super::{Lowering, operand};
use crate::call::PyCall;

pub fn lower(args: &CacheUpdateOne, step: &Lowering<'_>) -> PyCall {
    step.on(&args.cache)
        .arg(operand(&args.input))
        .kwarg("update_idxs_tensor", operand(&args.positions))
        .kwarg("page_table", operand(&args.page_table))
}
