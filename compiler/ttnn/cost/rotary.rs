//! Price of rotating queries or keys in prefill.

use bitnetc_plan::op::Rotary;

use super::{Call, Kernel, laws};

pub fn kernel(_: &Rotary, call: &Call<'_>) -> Kernel {
    laws::measured(call.movement().rotary_us, call)
}
