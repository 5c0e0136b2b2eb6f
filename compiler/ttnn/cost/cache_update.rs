//! Price of writing one row of keys and values per user into their caches.

use bitnetc_plan::op::CacheUpdate;

use super::{Kernel, Priced, laws};

pub fn kernel(_: &CacheUpdate, priced: &Priced<'_>) -> Kernel {
    laws::measured(priced.movement().cache_update_us, priced)
}
