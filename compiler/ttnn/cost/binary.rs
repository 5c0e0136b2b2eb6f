//! Price of an elementwise sum or product.

use bitnetc_plan::op::{self, BinaryKind};
use bitnetc_plan::program::Unary;

use super::{Kernel, Priced, laws};

pub fn kernel(args: &op::Binary, priced: &Priced<'_>) -> Kernel {
    let us = match args.kind {
        BinaryKind::Add => priced.movement().add_us,
        BinaryKind::Mul => laws::product_us(priced),
    };
    let functions = [&args.a_activations, &args.b_activations, &args.activations].into_iter().flatten();
    let silu = functions.filter(|f| matches!(f, Unary::Silu)).count() as f64 * priced.movement().silu_us;
    laws::elementwise_in(us + silu, priced)
}
