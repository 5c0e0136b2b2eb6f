//! Price of splitting a fused projection into heads in prefill.

use super::{Kernel, Priced, laws};

pub fn kernel(priced: &Priced<'_>) -> Kernel {
    laws::measured(priced.movement().create_heads_us, priced)
}
