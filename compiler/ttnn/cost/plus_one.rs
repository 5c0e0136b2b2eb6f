//! Price of an increment.

use bitnetc_plan::op::PlusOne;

use super::{Kernel, Priced};

pub fn kernel(_: &PlusOne, priced: &Priced<'_>) -> Kernel {
    Kernel::moves(priced.movement().plus_one_us)
}
