//! `ttnn.argmax`: the next token is picked of its operand.

use super::{Execution, Meaning};
use crate::Step;
use crate::op::ArgMax;

pub(super) fn meaning(args: &ArgMax, _: &Step, run: &mut Execution<'_>) -> Meaning {
    let logits = run.value(&args.input)?;
    run.pick(logits);
    Ok(Vec::new())
}
