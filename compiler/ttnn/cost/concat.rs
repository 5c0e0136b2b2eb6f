//! Price of joining columns; for want of a measurement, that of a reshard.

use bitnetc_plan::op::Concat;

use super::{Kernel, Priced, laws};

pub fn kernel(_: &Concat, priced: &Priced<'_>) -> Kernel {
    laws::measured(priced.movement().reshard_us, priced)
}
