//! `paged_fused_update_cache` with `update_idxs_tensor` and `page_table`: one row per user into both caches.

use super::constraint::{constraints, values};
use super::paged_cache::{edited_rows, require_cache, require_match, require_rows, rows, stick};
use super::users::user_cores;
use super::{Answer, Checks, Outcome};
use crate::op::CacheUpdate;
use crate::ttnn::checks::operands;
use crate::{Card, TensorSpec};

constraints! { "cache_update", "paged_fused_update_cache_device_operation.cpp",
    also [paged_cache, paged_cache::positions, paged_cache::rows, users];
    CACHES_ALIKE: "The caches of keys and values are equal in shape, type and placement."
        because "a model's caches are"
        => "key cache {k} and value cache {v} differ", "two equal caches";
    SAME_TYPE: "Keys and values have one type."
        => "Fused update requires matching input tensor dtypes, got {k} and {v}", "v in {k}";
    SAME_SHAPE: "Keys and values have one shape."
        because "a model's keys and values have"
        => "k {k} and v {v} differ", "v like k";
    DISJOINT: "Keys and values lie on different cores."
        => "input_tensor1 ({k}) and input_tensor2 ({v}) must not overlap", "k and v on different cores";
}

/// Both caches in place.
pub(super) fn check(_args: &CacheUpdate, given: &[&TensorSpec], card: &Card) -> Answer {
    let [k_cache, k, v_cache, v, positions, page_table] = operands(given)?;
    let mut checks = Checks::new();
    require_cache(k_cache, &mut checks);
    checks.require(&CACHES_ALIKE, k_cache == v_cache, values![k = k_cache, v = v_cache]);
    require_rows(k, &mut checks);
    require_rows(v, &mut checks);
    checks.settle()?;
    checks.require(&SAME_TYPE, k.dtype == v.dtype, values![k = k.dtype, v = v.dtype]);
    checks.require(&SAME_SHAPE, k.shape == v.shape, values![k = k.shape, v = v.shape]);
    require_match(k_cache, k, positions, page_table, &mut checks);
    let k_cores = user_cores(k, &rows::ROWS_SHARDED, &mut checks);
    let v_cores = user_cores(v, &rows::ROWS_SHARDED, &mut checks);
    if let (Some(k_cores), Some(v_cores)) = (k_cores, v_cores) {
        checks.require(&DISJOINT, k_cores.is_disjoint(v_cores), values![k = k_cores, v = v_cores]);
    }
    checks.finish(|| Outcome {
        circular_buffers: edited_rows(k_cache, k.shape[1])
            + stick(positions.columns(), card)
            + stick(page_table.columns(), card),
        programs: 1,
        ..Outcome::default()
    })
}

#[cfg(test)]
mod tests;
