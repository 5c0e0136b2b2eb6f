//! Price of writing one row per user into one cache.

use super::{Call, Kernel, laws};

pub fn kernel(call: &Call<'_>) -> Kernel {
    laws::measured(call.movement().cache_update_us, call)
}
