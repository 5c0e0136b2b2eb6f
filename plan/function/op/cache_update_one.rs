//! `ttnn.experimental.paged_update_cache`: this token's keys or values into their cache.

use super::{Execution, Meaning};
use crate::Step;
use crate::op::CacheUpdateOne;

pub(super) fn meaning(args: &CacheUpdateOne, _: &Step, run: &mut Execution<'_>) -> Meaning {
    let rows = run.value(&args.input)?;
    run.fill(&args.cache, &rows)?;
    Ok(Vec::new())
}
