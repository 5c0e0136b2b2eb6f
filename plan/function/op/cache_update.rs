//! `ttnn.experimental.paged_fused_update_cache`: this token's keys and values into their caches.

use super::{Execution, Meaning};
use crate::Step;
use crate::op::CacheUpdate;

pub(super) fn meaning(args: &CacheUpdate, _: &Step, run: &mut Execution<'_>) -> Meaning {
    let (k, v) = (run.value(&args.k)?, run.value(&args.v)?);
    run.fill(&args.k_cache, &k)?;
    run.fill(&args.v_cache, &v)?;
    Ok(Vec::new())
}
