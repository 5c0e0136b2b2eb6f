//! `ttnn.slice`: some rows of a tensor.

use super::{Execution, Meaning};
use crate::function::Unclear;
use crate::function::value::{Layout, Rows, RowsOf};
use crate::op::{self, Slice};
use crate::{PhaseKind, Step, TILE};

pub(super) fn meaning(args: &Slice, _: &Step, run: &mut Execution<'_>) -> Meaning {
    let mut x = run.value(&args.input)?;
    if x.layout != Layout::Flat {
        return Err(Unclear::new("rows of heads are cut", "heads side by side").into());
    }
    let whole = matches!(run.kind(), PhaseKind::Prefill { tokens } if x.rows == Rows::new(RowsOf::Prompt, tokens));
    x.rows = match args.rows {
        op::Rows::LastTokenTile if whole => Rows::new(RowsOf::LastTile, TILE),
        op::Rows::LastTokenTile => {
            return Err(Unclear::new(format!("the last token among {}", x.rows), "all tokens of a prompt").into());
        }
        op::Rows::Range(start, end) => {
            let end = end.min(x.rows.count);
            let count = end.saturating_sub(start);
            Rows { first: x.rows.first.saturating_add(start), count, ..x.rows }
        }
    };
    Ok(vec![x])
}
