//! `ttnn.slice` from where a tensor says: the tile of rows with the last token of a chunk.

use super::{Execution, Meaning};
use crate::function::Unclear;
use crate::function::value::{Layout, Rows, RowsOf};
use crate::op::SliceAt;
use crate::{BufferRole, Step, TILE};

pub(super) fn meaning(args: &SliceAt, _: &Step, run: &mut Execution<'_>) -> Meaning {
    let mut x = run.value(&args.input)?;
    if x.layout != Layout::Flat {
        return Err(Unclear::new("rows of heads are cut", "heads side by side").into());
    }
    run.all_tokens(&x)?;
    let bounds = (run.role(&args.starts)?, run.role(&args.ends)?);
    let one_tile = u64::from(args.parts) * u64::from(TILE) == u64::from(x.rows.count);
    if bounds != (BufferRole::LastTileStarts, BufferRole::LastTileEnds) || !one_tile {
        let what = format!("rows from `{}` to `{}`, one part of {}", args.starts, args.ends, args.parts);
        return Err(Unclear::new(what, "the tile with the last token").into());
    }
    x.rows = Rows::new(RowsOf::LastTile, TILE);
    Ok(vec![x])
}
