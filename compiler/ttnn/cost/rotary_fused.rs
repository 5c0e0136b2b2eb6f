//! Price of rotating queries and keys in one call.

use bitnetc_plan::op::RotaryFused;

use super::{Call, Kernel, laws};

pub fn kernel(_: &RotaryFused, call: &Call<'_>) -> Kernel {
    laws::measured(call.movement().rotary_us, call)
}
