//! Price of an elementwise sum or product.

use bitnetc_plan::op::{self, BinaryKind};

use super::{Kernel, Priced, laws};

pub fn kernel(args: &op::Binary, priced: &Priced<'_>) -> Kernel {
    let us = match args.kind {
        BinaryKind::Add => priced.movement().add_us,
        BinaryKind::Mul => laws::product_us(priced),
    };
    laws::elementwise_in(us, priced)
}
