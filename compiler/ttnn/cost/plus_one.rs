//! Price of an increment.

use bitnetc_plan::op::PlusOne;

use super::{Call, Kernel};

pub fn kernel(_: &PlusOne, call: &Call<'_>) -> Kernel {
    Kernel::moves(call.movement().plus_one_us)
}
