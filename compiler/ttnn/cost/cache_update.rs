//! Price of writing one row of keys and values per user into their caches.

use bitnetc_plan::op::CacheUpdate;

use super::{Call, Kernel, laws};

pub fn kernel(_: &CacheUpdate, call: &Call<'_>) -> Kernel {
    laws::measured(call.movement().cache_update_us, call)
}
