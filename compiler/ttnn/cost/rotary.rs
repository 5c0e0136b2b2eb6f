//! Price of rotating queries or keys in prefill.

use bitnetc_plan::op::Rotary;

use super::{Kernel, Priced, laws};

pub fn kernel(_: &Rotary, priced: &Priced<'_>) -> Kernel {
    laws::measured(priced.movement().rotary_us, priced)
}
