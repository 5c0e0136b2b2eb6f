//! Price of a transposition; for want of a measurement, that of a reshard.

use bitnetc_plan::op::Transpose;

use super::{Call, Kernel, laws};

pub fn kernel(_: &Transpose, call: &Call<'_>) -> Kernel {
    laws::measured(call.movement().reshard_us, call)
}
