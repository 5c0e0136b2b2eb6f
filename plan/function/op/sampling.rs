//! `ttnn.sampling`: the next token is drawn among the largest numbers of its operands, which are picked of all of them.

use super::{Execution, Meaning};
use crate::Step;
use crate::function::Unclear;
use crate::function::value::{Best, Content, Value};
use crate::op::Sampling;

pub(super) fn meaning(args: &Sampling, _: &Step, run: &mut Execution<'_>) -> Meaning {
    let (values, tokens) = (run.value(&args.values)?, run.value(&args.tokens)?);
    match (&values.content, &tokens.content) {
        (Content::Best(Best::Values, of), Content::Best(Best::Places, places))
            if of == places && values.rows == tokens.rows =>
        {
            run.pick(Value { content: Content::Columns(of.clone()), ..values });
            Ok(Vec::new())
        }
        (Content::Best(..) | Content::Columns(_) | Content::Angles(_) | Content::Transform, _)
        | (Content::Grouped(..) | Content::Users(_), _) => {
            let what = format!(
                "`{}` and `{}` are not the largest numbers of a row and their columns",
                args.values, args.tokens
            );
            Err(Unclear::new(what, "both results of one ttnn.topk").into())
        }
    }
}
