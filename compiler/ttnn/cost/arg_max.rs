//! Price of the index of the largest element of each row: its bytes at a bandwidth of its own.

use bitnetc_plan::op::ArgMax;

use super::{Call, Kernel};

pub fn kernel(_: &ArgMax, call: &Call<'_>) -> Kernel {
    Kernel::moves(call.bytes as f64 / (call.movement().argmax_gb_per_s * 1000.0))
}
