//! `ttnn.experimental.nlp_concat_heads_decode`: heads set side by side.

use super::{Execution, Meaning};
use crate::Step;
use crate::function::Unclear;
use crate::function::value::{Layout, Value};
use crate::op::ConcatHeadsDecode;

pub(super) fn meaning(args: &ConcatHeadsDecode, _: &Step, run: &mut Execution<'_>) -> Meaning {
    let heads = run.value(&args.input)?;
    match heads.layout {
        Layout::ByRow(_) => Ok(vec![Value { layout: Layout::Flat, ..heads }]),
        Layout::Flat | Layout::ByHead(_) => {
            Err(Unclear::new("what is joined are no heads", "heads as attention gives them").into())
        }
    }
}
