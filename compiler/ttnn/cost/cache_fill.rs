//! Price of writing a prompt into a cache.

use super::{Call, Kernel, laws};

pub fn kernel(call: &Call<'_>) -> Kernel {
    laws::measured(call.movement().cache_update_us, call)
}
