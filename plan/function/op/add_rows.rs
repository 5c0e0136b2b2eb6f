//! Sums with rows that are multiplied by a number each.

use super::{Execution, Meaning};
use crate::function::Unclear;
use crate::function::algebra::{add, mul, unary};
use crate::op::AddRows;
use crate::{Step, Unary};

pub(super) fn meaning(args: &AddRows, step: &Step, run: &mut Execution<'_>) -> Meaning {
    let (a, b, factors) = (run.value(&args.a)?, run.value(&args.b)?, run.value(&args.factors)?);
    let rows = a.rows.with(b.rows)?.with(factors.rows)?;
    if a.layout != b.layout {
        return Err(Unclear::new("operands with heads in other places", "operands of one layout").into());
    }
    let functions = [Unary::MaxScalar(args.floor.clone()), Unary::MulScalar(args.scale.clone())];
    let numbers = functions.iter().try_fold(factors.columns()?.clone(), |x, f| unary(&mut run.terms, f, &x))?;
    let product = mul(&mut run.terms, b.columns()?, &numbers)?;
    let mut sum = a.with(add(&mut run.terms, a.columns()?, &product)?);
    sum.rows = rows;
    run.write(step, &args.a, sum);
    Ok(Vec::new())
}
