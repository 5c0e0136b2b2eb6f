//! Price of joining heads in prefill.

use super::{Kernel, Priced, laws};

pub fn kernel(priced: &Priced<'_>) -> Kernel {
    laws::measured(priced.movement().concat_heads_us, priced)
}
