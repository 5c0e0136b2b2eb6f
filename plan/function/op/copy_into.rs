//! `ttnn.copy` into a buffer: the next token is the column that was found.

use super::{Execution, Meaning};
use crate::Step;
use crate::function::Unclear;
use crate::function::value::{Content, Stage, Value};
use crate::op::CopyInto;

pub(super) fn meaning(args: &CopyInto, _: &Step, run: &mut Execution<'_>) -> Meaning {
    let x = run.value(&args.input)?;
    match &x.content {
        Content::Grouped(Stage::Column, of, _) => {
            run.pick(Value { content: Content::Columns(of.clone()), ..x.clone() });
            Ok(Vec::new())
        }
        Content::Columns(_)
        | Content::Angles(_)
        | Content::Transform
        | Content::Best(..)
        | Content::Grouped(..)
        | Content::Users(_) => {
            Err(Unclear::new(format!("`{}` are not the columns of the largest logits", args.input), "tokens").into())
        }
    }
}
