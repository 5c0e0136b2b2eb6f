//! Price of the largest element of each row; for want of a measurement, that of an elementwise product.

use super::{Kernel, Priced, laws};

pub fn kernel(priced: &Priced<'_>) -> Kernel {
    laws::elementwise(priced)
}
