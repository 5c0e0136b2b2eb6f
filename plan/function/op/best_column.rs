//! `ttnn.argmax` over the last dimension: the first group that holds the largest of a row, or the place of the largest in its group.

use super::{Execution, Meaning};
use crate::Step;
use crate::function::Unclear;
use crate::function::value::{Content, Stage, Value};
use crate::op::BestColumn;

pub(super) fn meaning(args: &BestColumn, _: &Step, run: &mut Execution<'_>) -> Meaning {
    let x = run.value(&args.input)?;
    // Of a single user all maxima are in one row already.
    let row = if x.rows.count == 1 { Stage::Row } else { Stage::UsersMaxima };
    let content = match &x.content {
        Content::Grouped(stage, of, width) if *stage == row || *stage == Stage::UsersMaxima => {
            Content::Grouped(Stage::Group, of.clone(), *width)
        }
        Content::Grouped(Stage::Found, of, width) => Content::Grouped(Stage::Place, of.clone(), *width),
        Content::Columns(_)
        | Content::Angles(_)
        | Content::Transform
        | Content::Best(..)
        | Content::Grouped(..)
        | Content::Users(_) => {
            let what = format!("`{}` are not the largest of each user's groups, nor a group", args.input);
            return Err(Unclear::new(what, "[1, 1, users, groups], or a group of each user").into());
        }
    };
    Ok(vec![Value { content, ..x }])
}
