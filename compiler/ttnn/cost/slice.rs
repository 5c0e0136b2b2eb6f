//! Price of taking some rows; for want of a measurement, that of a reshard.

use bitnetc_plan::op::Slice;

use super::{Call, Kernel, laws};

pub fn kernel(_: &Slice, call: &Call<'_>) -> Kernel {
    laws::measured(call.movement().reshard_us, call)
}
