//! Price of integers times a number; for want of a measurement, that of a product of floats.

use bitnetc_plan::op::TimesInteger;

use super::{Kernel, Priced, laws};

pub fn kernel(_: &TimesInteger, priced: &Priced<'_>) -> Kernel {
    laws::measured(priced.movement().multiply_us, priced)
}
