//! Price of writing a prompt into a cache.

use bitnetc_plan::op::CacheFill;

use super::{Kernel, Priced, laws};

pub fn kernel(_: &CacheFill, priced: &Priced<'_>) -> Kernel {
    laws::measured(priced.movement().cache_update_us, priced)
}
