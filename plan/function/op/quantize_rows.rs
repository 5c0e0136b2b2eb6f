//! Rows as integers: what a maximum of magnitudes and a rounded product are, one after the other.

use super::{Execution, Meaning};
use crate::function::algebra::{mul, row_max, unary};
use crate::function::scale::Scale;
use crate::op::QuantizeRows;
use crate::{Step, Unary};

pub(super) fn meaning(args: &QuantizeRows, _: &Step, run: &mut Execution<'_>) -> Meaning {
    let x = run.value(&args.input)?;
    let columns = x.matrix()?;
    let magnitudes = unary(&mut run.terms, &Unary::Abs, columns)?;
    let maxima = row_max(&mut run.terms, &magnitudes)?;
    let divisors = unary(&mut run.terms, &Unary::MaxScalar(args.floor.clone()), &maxima)?;
    let factors = unary(&mut run.terms, &Unary::Recip, &divisors)?.scaled(&Scale::number(127.0));
    let scaled = mul(&mut run.terms, columns, &factors)?;
    let rounded = unary(&mut run.terms, &Unary::Round, &scaled)?;
    let integers = unary(&mut run.terms, &Unary::Clamp(-128.0, 127.0), &rounded)?;
    Ok(vec![x.with(integers), x.with(maxima)])
}
