//! Products by two-bit weights: the same as any other product by a matrix of the checkpoint.

use super::matmul::linear;
use super::{Execution, Meaning};
use crate::Step;
use crate::op::TernaryLinear;

pub(super) fn meaning(args: &TernaryLinear, _: &Step, run: &mut Execution<'_>) -> Meaning {
    linear(&args.a, &args.b, args.program.activation, run)
}
