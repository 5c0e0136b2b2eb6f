//! Price of a reshape that runs a program; a view of the same bytes runs none and is free. For want of a measurement, that of a reshard.

use bitnetc_plan::op::View;

use super::{Call, Kernel, laws};

pub fn kernel(_: &View, call: &Call<'_>) -> Kernel {
    laws::measured(call.movement().reshard_us, call)
}
