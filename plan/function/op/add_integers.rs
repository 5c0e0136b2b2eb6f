//! `ttnn.add` of integers: the row of a user's group among those of all users, or a column of all.

use super::{Execution, Meaning};
use crate::Step;
use crate::function::Unclear;
use crate::function::value::{Content, Stage, Value};
use crate::op::AddIntegers;

pub(super) fn meaning(args: &AddIntegers, _: &Step, run: &mut Execution<'_>) -> Meaning {
    let (a, b) = (run.value(&args.a)?, run.value(&args.b)?);
    match (&a.content, &b.content) {
        (Content::Grouped(Stage::Group, of, width), Content::Users(groups))
            if a.rows == b.rows && groups.checked_mul(*width) == Some(of.len()) =>
        {
            Ok(vec![Value { content: Content::Grouped(Stage::GroupRow, of.clone(), *width), ..a.clone() }])
        }
        (Content::Grouped(Stage::First, of, width), Content::Grouped(Stage::Place, other, each))
            if (of, width) == (other, each) && a.rows == b.rows =>
        {
            Ok(vec![Value { content: Content::Grouped(Stage::Column, of.clone(), *width), ..a.clone() }])
        }
        (Content::Columns(_) | Content::Angles(_) | Content::Transform, _)
        | (Content::Best(..) | Content::Grouped(..) | Content::Users(_), _) => {
            let what = format!("`{}` and `{}` are added", args.a, args.b);
            Err(Unclear::new(what, "a group and a user's first row, or a group's first column and a place in it")
                .into())
        }
    }
}
