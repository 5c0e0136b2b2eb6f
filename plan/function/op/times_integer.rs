//! `ttnn.multiply` of integers: the first row of each user, or the first column of a group.

use super::{Execution, Meaning};
use crate::function::Unclear;
use crate::function::value::{Content, Layout, Rows, RowsOf, Stage, Value};
use crate::op::TimesInteger;
use crate::{BufferRole, Ref, Step};

pub(super) fn meaning(args: &TimesInteger, _: &Step, run: &mut Execution<'_>) -> Meaning {
    if let Ref::Buffer(name) = &args.input {
        let users = Rows::new(RowsOf::Users, run.kind().rows());
        if run.role(&args.input)? != BufferRole::Generators {
            return Err(Unclear::new(format!("the buffer `{name}` is multiplied"), "the numbers of the users").into());
        }
        return Ok(vec![Value { rows: users, layout: Layout::Flat, content: Content::Users(args.factor) }]);
    }
    let x = run.value(&args.input)?;
    match &x.content {
        Content::Grouped(Stage::Group, of, width) if *width == args.factor => {
            Ok(vec![Value { content: Content::Grouped(Stage::First, of.clone(), *width), ..x.clone() }])
        }
        Content::Columns(_)
        | Content::Angles(_)
        | Content::Transform
        | Content::Best(..)
        | Content::Grouped(..)
        | Content::Users(_) => {
            let what = format!("`{}` times {}", args.input, args.factor);
            Err(Unclear::new(what, "the number of a group times its columns").into())
        }
    }
}
