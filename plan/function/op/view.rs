//! `ttnn.reshape` in place: the same columns, of as many rows as the new shape has.

use super::{Execution, Meaning};
use crate::Step;
use crate::function::Unclear;
use crate::function::value::{Layout, Rows};
use crate::op::View;

pub(super) fn meaning(args: &View, _: &Step, run: &mut Execution<'_>) -> Meaning {
    let mut x = run.value(&args.input)?;
    if x.layout != Layout::Flat {
        return Err(Unclear::new("heads are viewed in another shape", "heads side by side").into());
    }
    let dimensions = args.shape.len().saturating_sub(1);
    let rows = args.shape[..dimensions].iter().fold(1u32, |rows, side| rows.saturating_mul(*side));
    x.rows = Rows { count: x.rows.count.min(rows), ..x.rows };
    Ok(vec![x])
}
