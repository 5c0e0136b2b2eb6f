//! Price of writing one row per user into one cache.

use bitnetc_plan::op::CacheUpdateOne;

use super::{Call, Kernel, laws};

pub fn kernel(_: &CacheUpdateOne, call: &Call<'_>) -> Kernel {
    laws::measured(call.movement().cache_update_us, call)
}
