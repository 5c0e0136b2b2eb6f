//! Price of the largest element of each row; for want of a measurement, that of an elementwise product.

use bitnetc_plan::op::RowMax;

use super::{Call, Kernel, laws};

pub fn kernel(_: &RowMax, call: &Call<'_>) -> Kernel {
    laws::elementwise(call)
}
