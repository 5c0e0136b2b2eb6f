//! `ttnn.slice`: some rows or columns of a tensor.

use super::{Execution, Meaning};
use crate::function::Unclear;
use crate::function::value::{Layout, Rows, RowsOf};
use crate::op::{Kept, Slice};
use crate::{PhaseKind, Step, TILE};

pub(super) fn meaning(args: &Slice, _: &Step, run: &mut Execution<'_>) -> Meaning {
    let mut x = run.value(&args.input)?;
    if x.layout != Layout::Flat {
        return Err(Unclear::new("rows of heads are cut", "heads side by side").into());
    }
    let whole = matches!(run.kind(), PhaseKind::Prefill { tokens } if x.rows == Rows::new(RowsOf::Prompt, tokens));
    match args.kept {
        Kept::LastTokenTile if whole => x.rows = Rows::new(RowsOf::LastTile, TILE),
        Kept::LastTokenTile => {
            return Err(Unclear::new(format!("the last token among {}", x.rows), "all tokens of a prompt").into());
        }
        Kept::Rows(start, end) => {
            let count = end.min(x.rows.count).saturating_sub(start);
            x.rows = Rows { first: x.rows.first.saturating_add(start), count, ..x.rows };
        }
        Kept::Columns(count) => x = x.with(x.columns()?.slice(0, count)?),
    }
    Ok(vec![x])
}
