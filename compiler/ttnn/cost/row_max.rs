//! Price of the largest element of each row; for want of a measurement, that of an elementwise product.

use bitnetc_plan::op::RowMax;

use super::{Kernel, Priced, laws};

pub fn kernel(_: &RowMax, priced: &Priced<'_>) -> Kernel {
    let us = laws::product_us(priced) + laws::rows_in_turn(priced.operands[0], priced);
    laws::elementwise_in(us, priced)
}
