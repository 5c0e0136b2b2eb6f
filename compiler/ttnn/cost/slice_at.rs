//! Price of taking some rows; for want of a measurement, that of a reshard.

use bitnetc_plan::op::SliceAt;

use super::{Kernel, Priced, laws};

pub fn kernel(_: &SliceAt, priced: &Priced<'_>) -> Kernel {
    laws::measured(priced.movement().reshard_us, priced)
}
