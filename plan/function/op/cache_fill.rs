//! `ttnn.experimental.paged_fill_cache`: keys or values of a prompt into their cache.

use super::{Execution, Meaning};
use crate::Step;
use crate::op::CacheFill;

pub(super) fn meaning(args: &CacheFill, _: &Step, run: &mut Execution<'_>) -> Meaning {
    let rows = run.value(&args.input)?;
    run.fill(&args.cache, &rows)?;
    Ok(Vec::new())
}
