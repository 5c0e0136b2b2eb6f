//! `ttnn.experimental.rotary_embedding_llama_fused_qk`: queries by the first half of the angles, keys by the second.

use super::{Execution, Meaning, rotated, users_of};
use crate::Step;
use crate::op::RotaryFused;

pub(super) fn meaning(args: &RotaryFused, _: &Step, run: &mut Execution<'_>) -> Meaning {
    let (users, tables) = (run.kind().rows(), [&args.cos, &args.sin, &args.trans]);
    let mut turned = Vec::new();
    for input in [&args.q, &args.k] {
        turned.push(rotated(run, input, tables, |tables| users_of(tables, users, 2 * users))?);
    }
    Ok(turned)
}
