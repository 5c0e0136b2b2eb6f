//! Price of rotating queries or keys in decode.

use bitnetc_plan::op::RotaryDecode;

use super::{Call, Kernel, laws};

pub fn kernel(_: &RotaryDecode, call: &Call<'_>) -> Kernel {
    laws::measured(call.movement().rotary_us, call)
}
