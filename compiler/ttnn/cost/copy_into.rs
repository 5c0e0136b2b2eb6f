//! Price of a copy into a buffer; for want of a measurement, that of a reshard.

use bitnetc_plan::op::CopyInto;

use super::{Kernel, Priced, laws};

pub fn kernel(_: &CopyInto, priced: &Priced<'_>) -> Kernel {
    laws::measured(priced.movement().reshard_us, priced)
}
