//! Price of writing a prompt into a cache.

use bitnetc_plan::op::CacheFill;

use super::{Call, Kernel, laws};

pub fn kernel(_: &CacheFill, call: &Call<'_>) -> Kernel {
    laws::measured(call.movement().cache_update_us, call)
}
