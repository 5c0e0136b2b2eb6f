//! `ttnn.abs`.

use super::{Execution, Meaning};
use crate::function::algebra::unary;
use crate::op::AbsOp;
use crate::{Step, Unary};

pub(super) fn meaning(args: &AbsOp, _: &Step, run: &mut Execution<'_>) -> Meaning {
    let x = run.value(&args.input)?;
    let columns = unary(&mut run.terms, &Unary::Abs, x.columns()?)?;
    Ok(vec![x.with(columns)])
}
