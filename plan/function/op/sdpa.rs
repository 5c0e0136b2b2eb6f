//! `ttnn.transformer.chunked_scaled_dot_product_attention`: each token of a chunk attends to what its user's cache holds up to its position.

use super::{Execution, Meaning, attended};
use crate::function::Unclear;
use crate::op::Sdpa;
use crate::{BufferRole, Step};

pub(super) fn meaning(args: &Sdpa, _: &Step, run: &mut Execution<'_>) -> Meaning {
    let own = (run.role(&args.pages)?, run.role(&args.start)?) == (BufferRole::ContextPages, BufferRole::ChunkStart);
    if !own {
        let what = format!("attention in the blocks `{}` from `{}`", args.pages, args.start);
        return Err(Unclear::new(what, "in the blocks of the user's context, from the start of the chunk").into());
    }
    let q = run.value(&args.q)?;
    let ((k, heads), (v, others)) = (run.cached(&args.k_cache)?, run.cached(&args.v_cache)?);
    if heads != others {
        return Err(Unclear::new("other heads of keys than of values", "equally many").into());
    }
    Ok(vec![attended(run, &q, [&k, &v], heads, &args.scale)?])
}
