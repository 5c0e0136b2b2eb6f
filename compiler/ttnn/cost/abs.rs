//! Price of absolute values; for want of a measurement, that of an elementwise product.

use bitnetc_plan::op::AbsOp;

use super::{Call, Kernel, laws};

pub fn kernel(_: &AbsOp, call: &Call<'_>) -> Kernel {
    laws::elementwise(call)
}
