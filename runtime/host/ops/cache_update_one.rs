//! `ttnn.experimental.paged_update_cache`: one row per user into one KV cache.

use bitnetc_plan::op::CacheUpdateOne;

use crate::DeviceError;
use crate::host::paged;
use crate::host::run::Run;

pub fn execute(_: &CacheUpdateOne, run: &mut Run<'_>) -> Result<(), DeviceError> {
    paged::update(run, 0, 1, 2)
}
