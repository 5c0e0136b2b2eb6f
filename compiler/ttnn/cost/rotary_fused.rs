//! Price of rotating queries and keys in one call.

use bitnetc_plan::op::RotaryFused;

use super::{Kernel, Priced, laws};

pub fn kernel(_: &RotaryFused, priced: &Priced<'_>) -> Kernel {
    laws::measured(priced.movement().rotary_us, priced)
}
