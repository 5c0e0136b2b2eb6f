//! The meaning of each op, one file for each.

mod abs;
mod add_integers;
mod add_rows;
mod arg_max;
mod best_column;
mod binary;
mod cache_fill;
mod cache_update;
mod cache_update_one;
mod concat;
mod concat_heads;
mod concat_heads_decode;
mod copy_into;
mod create_heads;
mod create_heads_decode;
mod deallocate;
mod embedding;
mod gather_rows;
mod manual_seed;
mod matmul;
mod plus_one;
mod quantize_rows;
mod reshape;
mod rms_norm;
mod rotary;
mod rotary_decode;
mod rotary_fused;
mod row_max;
mod sampling;
mod sdpa;
mod sdpa_decode;
mod slice;
mod slice_at;
mod ternary_gated;
mod ternary_linear;
mod times_integer;
mod to_layout;
mod to_memory_config;
mod top_k;
mod transpose;
mod typecast;
mod view;

use super::heads::{Coordinates, attend, each, turn};
use super::phase::Trouble;
pub(super) use super::phase::{Execution, Meaning};
use super::value::{Angles, Content, Layout, Rows, RowsOf, Value};
use super::{Columns, Scale, Unclear};
use crate::weight::RotaryFunction;
use crate::{Op, Ref, Scalar, Step, for_each_op};

/// Makes of the list of ops the match that has each op's meaning told by the file of its name.
macro_rules! meanings {
    ($($(#[$doc:meta])* $variant:ident($args:ident) in $file:ident;)*) => {
        /// The results of a step.
        pub(super) fn meaning(step: &Step, run: &mut Execution<'_>) -> Meaning {
            match &step.op {
                $(Op::$variant(args) => $file::meaning(args, step, run),)*
            }
        }
    };
}

for_each_op!(meanings);

/// A projection cut into queries, keys and values, of so many heads.
fn split(
    projection: &Value,
    [heads, kv_heads]: [u32; 2],
    layout: impl Fn(u32) -> Layout,
) -> Result<Vec<Value>, Unclear> {
    let columns = projection.matrix()?;
    let width = columns.len() / heads.saturating_add(kv_heads.saturating_mul(2)).max(1);
    let mut first = 0;
    let mut parts = Vec::new();
    for count in [heads, kv_heads, kv_heads] {
        let part = columns.slice(first, count.saturating_mul(width))?;
        parts.push(Value { layout: layout(count), ..projection.with(part) });
        first += count.saturating_mul(width);
    }
    Ok(parts)
}

/// Heads whose adjacent columns are turned by tables of cosines and sines; `rows` judges the rows of the tables.
fn rotated(
    run: &mut Execution<'_>,
    input: &Ref,
    [cos, sin, trans]: [&Ref; 3],
    rows: impl Fn(Rows) -> Result<(), Unclear>,
) -> Result<Value, Trouble> {
    let x = run.value(input)?;
    let heads = match x.layout {
        Layout::ByRow(heads) | Layout::ByHead(heads) => heads.max(1),
        Layout::Flat => 1,
    };
    let angles = angles(run, cos, sin, &rows)?;
    if !matches!(run.value(trans)?.content, Content::Transform) {
        return Err(
            Unclear::new(format!("`{trans}` is not the rotary matrix"), "the matrix that exchanges pairs").into()
        );
    }
    let mut turned = Columns::default();
    for head in each(x.columns()?, heads)? {
        let pairs = (head.len() / 2).min(angles.count) as usize;
        let pairs = (0..pairs).map(|pair| Coordinates { a: 2 * pair, b: 2 * pair + 1, rate: pair });
        turned.append(&turn(&mut run.terms, &head, pairs, angles.rates, angles.amplitude)?);
    }
    Ok(x.with(turned.bounded()?))
}

/// The angles whose cosines and sines two operands are.
fn angles(
    run: &mut Execution<'_>,
    cos: &Ref,
    sin: &Ref,
    rows: impl Fn(Rows) -> Result<(), Unclear>,
) -> Result<Angles, Trouble> {
    let (cosines, sines) = (run.value(cos)?, run.value(sin)?);
    for table in [&cosines, &sines] {
        rows(table.rows)?;
    }
    match (cosines.content, sines.content) {
        (Content::Angles(a), Content::Angles(b))
            if (a.function, b.function) == (RotaryFunction::Cos, RotaryFunction::Sin)
                && (Angles { function: a.function, ..b }) == a =>
        {
            Ok(a)
        }
        (Content::Angles(_) | Content::Columns(_) | Content::Transform, _)
        | (Content::Best(..) | Content::Grouped(..) | Content::Users(_), _) => {
            let what = format!("`{cos}` and `{sin}` are no cosines and sines of the same angles");
            Err(Unclear::new(what, "rows of two tables with one list of frequencies").into())
        }
    }
}

/// An error unless the rows are those of all users, `count` of them.
fn users_of(rows: Rows, users: u32, count: u32) -> Result<(), Unclear> {
    let right = rows.of == RowsOf::Users && rows.first == 0 && rows.count == count && count.is_multiple_of(users);
    if right { Ok(()) } else { Err(Unclear::new(format!("angles of {rows}"), format!("of {count} users"))) }
}

/// Queries that attend to keys and values of `kv_heads`.
fn attended(
    run: &mut Execution<'_>,
    q: &Value,
    [k, v]: [&Columns; 2],
    kv_heads: u32,
    scale: &Scalar,
) -> Result<Value, Trouble> {
    run.all_tokens(q)?;
    let heads = match q.layout {
        Layout::ByRow(heads) | Layout::ByHead(heads) => heads,
        Layout::Flat => return Err(Unclear::new("queries that are no heads", "heads").into()),
    };
    let attended = attend(&mut run.terms, [q.columns()?, k, v], (heads, kv_heads), &Scale::from(scale))?;
    Ok(q.with(attended))
}
