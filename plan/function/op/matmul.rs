//! `ttnn.linear`: products with matrices of the checkpoint.

use super::{Execution, Meaning};
use crate::function::Unclear;
use crate::function::algebra::unary;
use crate::function::matrices::product;
use crate::function::value::Value;
use crate::op::Matmul;
use crate::program::FusedActivation;
use crate::{Ref, Source, Step, Unary};

pub(super) fn meaning(args: &Matmul, _: &Step, run: &mut Execution<'_>) -> Meaning {
    linear(&args.a, &args.b, args.program.activation(), run)
}

/// The product of activations and a weight, whatever kernels compute it.
pub(super) fn linear(a: &Ref, b: &Ref, activation: Option<FusedActivation>, run: &mut Execution<'_>) -> Meaning {
    let x = run.value(a)?;
    let Source::Columns(matrices) = run.source(b)? else {
        return Err(Unclear::new(format!("`{b}` is no matrix of a product"), "matrices side by side").into());
    };
    let product = product(&mut run.terms, x.matrix()?, matrices)?;
    let columns = match activation {
        None => product,
        Some(FusedActivation::Relu) => unary(&mut run.terms, &Unary::Relu, &product)?,
        Some(FusedActivation::Silu) => unary(&mut run.terms, &Unary::Silu, &product)?,
    };
    Ok(vec![Value::flat(x.rows, columns)])
}
