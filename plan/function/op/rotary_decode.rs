//! `ttnn.experimental.rotary_embedding_llama` in decode: queries or keys, by the first row of angles for each user.

use super::{Execution, Meaning, rotated, users_of};
use crate::Step;
use crate::op::RotaryDecode;

pub(super) fn meaning(args: &RotaryDecode, _: &Step, run: &mut Execution<'_>) -> Meaning {
    let users = run.kind().rows();
    let turned =
        rotated(run, &args.input, [&args.cos, &args.sin, &args.trans], |tables| users_of(tables, users, users))?;
    Ok(vec![turned])
}
