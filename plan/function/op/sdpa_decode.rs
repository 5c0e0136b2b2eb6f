//! `ttnn.transformer.paged_scaled_dot_product_attention_decode`: each user's token attends to what its caches hold up to its position.

use super::{Execution, Meaning, attended};
use crate::Step;
use crate::function::Unclear;
use crate::op::SdpaDecode;

pub(super) fn meaning(args: &SdpaDecode, _: &Step, run: &mut Execution<'_>) -> Meaning {
    let q = run.value(&args.q)?;
    let ((k, heads), (v, others)) = (run.cached(&args.k_cache)?, run.cached(&args.v_cache)?);
    if heads != others {
        return Err(Unclear::new("other heads of keys than of values", "equally many").into());
    }
    Ok(vec![attended(run, &q, [&k, &v], heads, &args.scale)?])
}
