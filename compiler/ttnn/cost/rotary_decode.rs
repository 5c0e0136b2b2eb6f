//! Price of rotating queries or keys in decode.

use super::{Kernel, Priced, laws};

pub fn kernel(priced: &Priced<'_>) -> Kernel {
    laws::measured(priced.movement().rotary_us, priced)
}
