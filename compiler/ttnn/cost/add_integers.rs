//! Price of a sum of integers; for want of a measurement, that of floats.

use bitnetc_plan::op::AddIntegers;

use super::{Kernel, Priced, laws};

pub fn kernel(_: &AddIntegers, priced: &Priced<'_>) -> Kernel {
    laws::measured(priced.movement().add_us, priced)
}
