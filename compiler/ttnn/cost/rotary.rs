//! Price of rotating queries or keys in prefill.

use super::{Call, Kernel, laws};

pub fn kernel(call: &Call<'_>) -> Kernel {
    laws::measured(call.movement().rotary_us, call)
}
