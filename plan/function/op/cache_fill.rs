//! `ttnn.experimental.paged_fill_cache`: keys or values of a chunk of a prompt into their cache.

use super::{Execution, Meaning};
use crate::function::Unclear;
use crate::op::CacheFill;
use crate::{BufferRole, Step};

pub(super) fn meaning(args: &CacheFill, _: &Step, run: &mut Execution<'_>) -> Meaning {
    if run.role(&args.pages)? != BufferRole::ChunkPages(run.kind().rows()) {
        let what = format!("rows are written to the blocks `{}`", args.pages);
        return Err(Unclear::new(what, "to the blocks of the chunk").into());
    }
    let rows = run.value(&args.input)?;
    run.fill(&args.cache, &rows)?;
    Ok(Vec::new())
}
