//! `ttnn.max` over the last dimension: a number of each row.

use super::{Execution, Meaning};
use crate::Step;
use crate::function::algebra::row_max;
use crate::function::value::{Content, Stage, Value};
use crate::op::RowMax;

pub(super) fn meaning(args: &RowMax, _: &Step, run: &mut Execution<'_>) -> Meaning {
    let x = run.value(&args.input)?;
    if let Content::Grouped(Stage::Groups, of, width) = &x.content {
        return Ok(vec![Value { content: Content::Grouped(Stage::Maxima, of.clone(), *width), ..x.clone() }]);
    }
    let columns = row_max(&mut run.terms, x.matrix()?)?;
    Ok(vec![x.with(columns)])
}
