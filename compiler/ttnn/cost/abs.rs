//! Price of absolute values; for want of a measurement, that of an elementwise product.

use bitnetc_plan::op::AbsOp;

use super::{Kernel, Priced, laws};

pub fn kernel(_: &AbsOp, priced: &Priced<'_>) -> Kernel {
    laws::elementwise(priced)
}
