//! Price of gate and up by two-bit weights: that of two products at once ([`super::ternary_linear`]), and the functions on their sums.

use bitnetc_plan::op;

use super::ternary_linear::Call;
use super::{Kernel, Priced};

/// Cycles that the vector unit takes for a tile: 32 rounds of about 4 instructions for the RELU, 8 for the square and 16 for the product, counted
/// in TT-LLK's loops.
const GATED_TILE_CYCLES: f64 = 900.0;

pub fn kernel(args: &op::TernaryGated, priced: &Priced<'_>) -> Kernel {
    let (program, memory) = (&args.program, &args.memory);
    let call = Call { program, compute: args.compute, memory, after: GATED_TILE_CYCLES };
    call.kernel(priced.operands[0], &priced.operands[1..], priced)
}
