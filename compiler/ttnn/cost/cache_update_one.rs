//! Price of writing one row per user into one cache.

use super::{Kernel, Priced, laws};

pub fn kernel(priced: &Priced<'_>) -> Kernel {
    laws::measured(priced.movement().cache_update_us, priced)
}
