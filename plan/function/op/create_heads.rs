//! `ttnn.experimental.nlp_create_qkv_heads`: columns cut into heads of queries, keys and values.

use super::{Execution, Meaning, split};
use crate::Step;
use crate::function::value::Layout;
use crate::op::CreateHeads;

pub(super) fn meaning(args: &CreateHeads, _: &Step, run: &mut Execution<'_>) -> Meaning {
    let projection = run.value(&args.input)?;
    Ok(split(&projection, [args.heads, args.kv_heads], Layout::ByHead)?)
}
