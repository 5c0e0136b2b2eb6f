//! `ttnn.max` over the last dimension: a number of each row.

use super::{Execution, Meaning};
use crate::Step;
use crate::function::algebra::row_max;
use crate::op::RowMax;

pub(super) fn meaning(args: &RowMax, _: &Step, run: &mut Execution<'_>) -> Meaning {
    let x = run.value(&args.input)?;
    let columns = row_max(&mut run.terms, x.matrix()?)?;
    Ok(vec![x.with(columns)])
}
