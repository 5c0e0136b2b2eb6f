//! `ttnn.transformer.scaled_dot_product_attention`: each token of a prompt attends to itself and those before it.

use super::{Execution, Meaning, attended};
use crate::Step;
use crate::function::Unclear;
use crate::function::value::Layout;
use crate::op::Sdpa;

pub(super) fn meaning(args: &Sdpa, _: &Step, run: &mut Execution<'_>) -> Meaning {
    let (q, k, v) = (run.value(&args.q)?, run.value(&args.k)?, run.value(&args.v)?);
    let (Layout::ByHead(_), Layout::ByHead(heads), Layout::ByHead(others)) = (q.layout, k.layout, v.layout) else {
        return Err(Unclear::new("attention of what are no heads", "heads of queries, keys and values").into());
    };
    if heads != others {
        return Err(Unclear::new("other heads of keys than of values", "equally many").into());
    }
    for value in [&k, &v] {
        run.all_tokens(value)?;
    }
    Ok(vec![attended(run, &q, [k.columns()?, v.columns()?], heads, &args.scale)?])
}
