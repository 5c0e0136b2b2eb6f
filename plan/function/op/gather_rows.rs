//! `ttnn.embedding` of a value: the group of each user that holds the largest.

use super::{Execution, Meaning};
use crate::Step;
use crate::function::Unclear;
use crate::function::value::{Content, Stage, Value};
use crate::op::GatherRows;

pub(super) fn meaning(args: &GatherRows, _: &Step, run: &mut Execution<'_>) -> Meaning {
    let (rows, table) = (run.value(&args.indices)?, run.value(&args.table)?);
    match (&rows.content, &table.content) {
        (Content::Grouped(Stage::GroupRow, of, width), Content::Grouped(Stage::Groups, all, each))
            if (of, width) == (all, each) && rows.rows == table.rows =>
        {
            Ok(vec![Value { content: Content::Grouped(Stage::Found, of.clone(), *width), ..table.clone() }])
        }
        (Content::Columns(_) | Content::Angles(_) | Content::Transform, _)
        | (Content::Best(..) | Content::Grouped(..) | Content::Users(_), _) => {
            let what = format!("rows `{}` of `{}`", args.indices, args.table);
            Err(Unclear::new(what, "the rows of groups of logits that were found").into())
        }
    }
}
