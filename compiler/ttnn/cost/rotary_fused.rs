//! Price of rotating queries and keys in one call.

use super::{Call, Kernel, laws};

pub fn kernel(call: &Call<'_>) -> Kernel {
    laws::measured(call.movement().rotary_us, call)
}
