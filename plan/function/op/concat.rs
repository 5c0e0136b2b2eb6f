//! `ttnn.concat` of columns.

use super::{Execution, Meaning};
use crate::Step;
use crate::function::Columns;
use crate::function::value::{Rows, RowsOf, Value};
use crate::op::Concat;

pub(super) fn meaning(args: &Concat, _: &Step, run: &mut Execution<'_>) -> Meaning {
    let (mut columns, mut rows) = (Columns::default(), Rows::new(RowsOf::Any, u32::MAX));
    for input in &args.inputs {
        let part = run.value(input)?;
        rows = rows.with(part.rows)?;
        columns.append(part.matrix()?);
    }
    Ok(vec![Value::flat(rows, columns)])
}
