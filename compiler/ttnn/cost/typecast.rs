//! Price of a change of data type; for want of a measurement, that of an elementwise product.

use bitnetc_plan::op::Typecast;

use super::{Kernel, Priced, laws};

pub fn kernel(_: &Typecast, priced: &Priced<'_>) -> Kernel {
    laws::elementwise(priced)
}
