//! `ttnn.reshape` of rows: logits cut into groups of columns, or the largest of all groups cut into those of each user.

use std::rc::Rc;

use super::{Execution, Meaning};
use crate::Step;
use crate::function::Unclear;
use crate::function::value::{Content, Stage, Value};
use crate::op::Reshape;

pub(super) fn meaning(args: &Reshape, _: &Step, run: &mut Execution<'_>) -> Meaning {
    let x = run.value(&args.input)?;
    let [_, _, rows, width] = *args.shape.as_slice() else {
        return Err(Unclear::new("rows are cut into another number of dimensions", "[1, 1, N, D]").into());
    };
    let users = x.rows.count;
    let content = match &x.content {
        Content::Columns(of)
            if x.matrix().is_ok()
                && rows % users.max(1) == 0
                && (rows / users.max(1)).checked_mul(width) == Some(of.len()) =>
        {
            Content::Grouped(Stage::Groups, Rc::clone(of), width)
        }
        Content::Grouped(Stage::Row, of, group) if rows == users && width.checked_mul(*group) == Some(of.len()) => {
            Content::Grouped(Stage::UsersMaxima, Rc::clone(of), *group)
        }
        Content::Columns(_)
        | Content::Angles(_)
        | Content::Transform
        | Content::Best(..)
        | Content::Grouped(..)
        | Content::Users(_) => {
            let what = format!("`{}` is cut into {rows} rows of {width}", args.input);
            return Err(Unclear::new(what, "logits in groups, or the largest of groups by user").into());
        }
    };
    Ok(vec![Value { content, ..x }])
}
