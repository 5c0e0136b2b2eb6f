//! Price of a change of data type; for want of a measurement, that of an elementwise product.

use bitnetc_plan::op::Typecast;

use super::{Call, Kernel, laws};

pub fn kernel(_: &Typecast, call: &Call<'_>) -> Kernel {
    laws::elementwise(call)
}
