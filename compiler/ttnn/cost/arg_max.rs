//! Price of the index of the largest element of each row: its bytes at a bandwidth of its own.

use bitnetc_plan::op::ArgMax;

use super::{Kernel, Priced};

pub fn kernel(_: &ArgMax, priced: &Priced<'_>) -> Kernel {
    Kernel::moves(priced.bytes as f64 / (priced.movement().argmax_gb_per_s * 1000.0))
}
