//! Price of a transposition; for want of a measurement, that of a reshard.

use bitnetc_plan::op::Transpose;

use super::{Kernel, Priced, laws};

pub fn kernel(_: &Transpose, priced: &Priced<'_>) -> Kernel {
    laws::measured(priced.movement().reshard_us, priced)
}
