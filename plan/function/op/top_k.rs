//! `ttnn.topk`: the largest numbers of each row, and where they are.

use std::rc::Rc;

use super::{Execution, Meaning};
use crate::Step;
use crate::function::value::{Best, Content, Value};
use crate::op::TopK;

pub(super) fn meaning(args: &TopK, _: &Step, run: &mut Execution<'_>) -> Meaning {
    let x = run.value(&args.input)?;
    let of = Rc::new(x.matrix()?.clone());
    let best = |which| Value { content: Content::Best(which, Rc::clone(&of)), ..x.clone() };
    Ok(vec![best(Best::Values), best(Best::Places)])
}
