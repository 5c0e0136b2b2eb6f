//! Price of the index of the largest element of each row: its bytes at a bandwidth of its own.

use super::{Call, Kernel};

pub fn kernel(call: &Call<'_>) -> Kernel {
    Kernel::moves(call.bytes as f64 / (call.movement().argmax_gb_per_s * 1000.0))
}
