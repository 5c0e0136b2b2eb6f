//! Gate and up of an MLP by two-bit weights: the square of what is above 0 of one product, times the other.

use super::matmul::linear;
use super::{Execution, Meaning, Value};
use crate::function::algebra::{mul, unary};
use crate::op::TernaryGated;
use crate::program::FusedActivation;
use crate::{Step, Unary};

pub(super) fn meaning(args: &TernaryGated, _: &Step, run: &mut Execution<'_>) -> Meaning {
    let gates = linear(&args.a, &args.gate, Some(FusedActivation::Relu), run)?;
    let ups = linear(&args.a, &args.up, None, run)?;
    gates
        .into_iter()
        .zip(ups)
        .map(|(gate, up)| {
            let squared = unary(&mut run.terms, &Unary::Square, gate.columns()?)?;
            let product = mul(&mut run.terms, &squared, up.columns()?)?;
            Ok(Value::flat(gate.rows, product))
        })
        .collect()
}
