//! `ttnn.add` and `ttnn.mul`, with functions of operands and result.

use super::{Execution, Meaning};
use crate::function::algebra::{add, mul, unary};
use crate::function::{Columns, Unclear};
use crate::op::{Binary, BinaryKind, Destination};
use crate::{Step, Unary};

pub(super) fn meaning(args: &Binary, step: &Step, run: &mut Execution<'_>) -> Meaning {
    let (a, b) = (run.value(&args.a)?, run.value(&args.b)?);
    let rows = a.rows.with(b.rows)?;
    let column = b.columns()?.len() == 1 && a.columns()?.len() != 1;
    if a.layout != b.layout {
        return Err(Unclear::new("operands with heads in other places", "operands of one layout").into());
    }
    let left = applied(run, &args.a_activations, a.columns()?)?;
    let right = applied(run, &args.b_activations, b.columns()?)?;
    let result = match args.kind {
        BinaryKind::Mul => mul(&mut run.terms, &left, &right)?,
        BinaryKind::Add if column => {
            return Err(Unclear::new("a number of each row is added", "operands of one shape").into());
        }
        BinaryKind::Add => add(&mut run.terms, &left, &right)?,
    };
    let mut result = a.with(applied(run, &args.activations, &result)?);
    result.rows = rows;
    match args.into {
        Destination::New(_) => Ok(vec![result]),
        Destination::InPlace => {
            run.write(step, &args.a, result);
            Ok(Vec::new())
        }
    }
}

fn applied(run: &mut Execution<'_>, functions: &[Unary], x: &Columns) -> Result<Columns, Unclear> {
    functions.iter().try_fold(x.clone(), |x, function| unary(&mut run.terms, function, &x))
}
