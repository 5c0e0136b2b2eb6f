//! `ttnn.slice`.

use bitnetc_plan::op::{Rows, Slice};

use super::Lowering;
use crate::call::{Expr, PyCall};
use crate::tensor::memory_config;

pub fn lower(args: &Slice, step: &Lowering<'_>) -> PyCall {
    let columns = step.step.outputs.first().map_or(0, |v| v.spec.columns());
    let (start, end) = match args.rows {
        Rows::Range(start, end) => (Expr::ints([0, 0, start, 0]), Expr::ints([1, 1, end, columns])),
        Rows::LastTokenTile => step.open.last_tile(columns),
    };
    step.on(&args.input).arg(start).arg(end).kwarg("memory_config", memory_config(&args.memory))
}
