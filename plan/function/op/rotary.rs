//! `ttnn.experimental.rotary_embedding_llama` in prefill: the tables have a row for each token.

use super::{Execution, Meaning, rotated};
use crate::Step;
use crate::function::Unclear;
use crate::function::value::{Rows, RowsOf};
use crate::op::Rotary;

pub(super) fn meaning(args: &Rotary, _: &Step, run: &mut Execution<'_>) -> Meaning {
    let x = run.value(&args.input)?;
    let turned = rotated(run, &args.input, [&args.cos, &args.sin, &args.trans], |tables| {
        let Rows { of, first, count } = tables;
        if of == RowsOf::Prompt && first == 0 && x.rows.of == of && x.rows.first == 0 && count >= x.rows.count {
            return Ok(());
        }
        Err(Unclear::new(format!("{} are turned by the angles of {tables}", x.rows), "those of their own positions"))
    })?;
    Ok(vec![turned])
}
