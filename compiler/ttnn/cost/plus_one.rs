//! Price of an increment.

use super::{Kernel, Priced};

pub fn kernel(priced: &Priced<'_>) -> Kernel {
    Kernel::moves(priced.movement().plus_one_us)
}
