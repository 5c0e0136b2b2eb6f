//! `ttnn.experimental.paged_fused_update_cache`: one row per user into both KV caches.

use bitnetc_plan::op::CacheUpdate;

use crate::DeviceError;
use crate::host::paged;
use crate::host::run::Run;

pub fn execute(_: &CacheUpdate, run: &mut Run<'_>) -> Result<(), DeviceError> {
    paged::update(run, 0, 1, 4)?;
    paged::update(run, 2, 3, 4)
}
