//! Price of a sum with rows that are multiplied by a number each: that of an elementwise product and an elementwise sum. No card has run its
//! kernels.

use bitnetc_plan::op::AddRows;

use super::{Kernel, Priced, laws};

pub fn kernel(_: &AddRows, priced: &Priced<'_>) -> Kernel {
    laws::elementwise_in(laws::product_us(priced) + priced.movement().add_us, priced)
}
