//! Price of an increment.

use super::{Call, Kernel};

pub fn kernel(call: &Call<'_>) -> Kernel {
    Kernel::moves(call.movement().plus_one_us)
}
