//! Price of joining columns; for want of a measurement, that of a reshard.

use bitnetc_plan::op::Concat;

use super::{Call, Kernel, laws};

pub fn kernel(_: &Concat, call: &Call<'_>) -> Kernel {
    laws::measured(call.movement().reshard_us, call)
}
