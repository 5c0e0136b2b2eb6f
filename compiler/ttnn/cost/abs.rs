//! Price of absolute values; for want of a measurement, that of an elementwise product.

use super::{Call, Kernel, laws};

pub fn kernel(call: &Call<'_>) -> Kernel {
    laws::elementwise(call)
}
