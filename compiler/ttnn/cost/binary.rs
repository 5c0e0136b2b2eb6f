//! Price of an elementwise sum or product.

use bitnetc_plan::op::{self, BinaryKind};

use super::{Call, Kernel, laws};

pub fn kernel(args: &op::Binary, call: &Call<'_>) -> Kernel {
    let us = match args.kind {
        BinaryKind::Add => call.movement().add_us,
        BinaryKind::Mul => laws::product_us(call),
    };
    laws::elementwise_in(us, call)
}
