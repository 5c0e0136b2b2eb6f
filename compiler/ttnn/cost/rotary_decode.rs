//! Price of rotating queries or keys in decode.

use bitnetc_plan::op::RotaryDecode;

use super::{Kernel, Priced, laws};

pub fn kernel(_: &RotaryDecode, priced: &Priced<'_>) -> Kernel {
    laws::measured(priced.movement().rotary_us, priced)
}
