//! `ttnn.reshape`.

use bitnetc_plan::TILE;
use bitnetc_plan::op::View;

use super::Lowering;
use crate::call::{Expr, PyCall};

pub fn lower(args: &View, step: &Lowering<'_>) -> PyCall {
    // With its padded shape, since TT-NN refuses to change the logical volume without.
    let mut padded = args.shape.clone();
    let sides = padded.len();
    for side in padded.iter_mut().skip(sides.saturating_sub(2)) {
        *side = side.next_multiple_of(TILE);
    }
    let tuple = |shape: &[u32]| Expr::Tuple(shape.iter().map(|&side| side.into()).collect());
    step.on(&args.input).arg(tuple(&args.shape)).arg(tuple(&padded))
}
