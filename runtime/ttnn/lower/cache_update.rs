//! `ttnn.experimental.paged_fused_update_cache`.

use bitnetc_plan::op::CacheUpdate;

use super::{Lowering, operand};
use crate::call::PyCall;

pub fn lower(args: &CacheUpdate, step: &Lowering<'_>) -> PyCall {
    step.on(&args.k_cache)
        .arg(operand(&args.k))
        .arg(operand(&args.v_cache))
        .arg(operand(&args.v))
        .kwarg("update_idxs_tensor", operand(&args.positions))
        .kwarg("page_table", operand(&args.page_table))
}
