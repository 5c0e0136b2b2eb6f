//! Price of writing one row per user into one cache.

use bitnetc_plan::op::CacheUpdateOne;

use super::{Kernel, Priced, laws};

pub fn kernel(_: &CacheUpdateOne, priced: &Priced<'_>) -> Kernel {
    laws::measured(priced.movement().cache_update_us, priced)
}
