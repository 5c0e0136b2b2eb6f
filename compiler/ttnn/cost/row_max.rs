//! Price of the largest element of each row; for want of a measurement, that of an elementwise product.

use bitnetc_plan::op::RowMax;

use super::{Kernel, Priced, laws};

pub fn kernel(_: &RowMax, priced: &Priced<'_>) -> Kernel {
    laws::elementwise(priced)
}
