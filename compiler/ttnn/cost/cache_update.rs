//! Price of writing one row of keys and values per user into their caches.

use super::{Call, Kernel, laws};

pub fn kernel(call: &Call<'_>) -> Kernel {
    laws::measured(call.movement().cache_update_us, call)
}
