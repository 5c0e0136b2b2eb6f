//! Price of joining columns; for want of a measurement, that of a reshard.

use super::{Call, Kernel, laws};

pub fn kernel(call: &Call<'_>) -> Kernel {
    laws::measured(call.movement().reshard_us, call)
}
