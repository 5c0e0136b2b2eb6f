//! Price of a reshape that runs a program; a view of the same bytes runs none and is free. For want of a measurement, that of a reshard.

use bitnetc_plan::op::View;

use super::{Kernel, Priced, laws};

pub fn kernel(_: &View, priced: &Priced<'_>) -> Kernel {
    laws::measured(priced.movement().reshard_us, priced)
}
