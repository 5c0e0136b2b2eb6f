//! `ttnn.experimental.nlp_create_qkv_heads_decode`: columns cut into heads of queries, keys and values.

use super::{Execution, Meaning, split};
use crate::Step;
use crate::function::value::Layout;
use crate::op::CreateHeadsDecode;

pub(super) fn meaning(args: &CreateHeadsDecode, _: &Step, run: &mut Execution<'_>) -> Meaning {
    let projection = run.value(&args.input)?;
    Ok(split(&projection, [args.heads, args.kv_heads], Layout::ByRow)?)
}
