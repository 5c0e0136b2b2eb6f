//! Price of rotating queries and keys in one call.

use super::{Kernel, Priced, laws};

pub fn kernel(priced: &Priced<'_>) -> Kernel {
    laws::measured(priced.movement().rotary_us, priced)
}
