//! `ttnn.slice`.

use bitnetc_plan::op::{Kept, Slice};

use super::Lowering;
use crate::call::{Expr, PyCall};
use crate::tensor::memory_config;

pub fn lower(args: &Slice, step: &Lowering<'_>) -> PyCall {
    let (rows, columns) = step.step.outputs.first().map_or((0, 0), |v| (v.spec.rows(), v.spec.columns()));
    let (start, end) = match args.kept {
        Kept::Rows(start, end) => (Expr::ints([0, 0, start, 0]), Expr::ints([1, 1, end, columns])),
        Kept::LastTokenTile => step.open.last_tile(columns),
        Kept::Columns(count) => (Expr::ints([0; 4]), Expr::ints([1, 1, rows, count])),
    };
    step.on(&args.input).arg(start).arg(end).kwarg("memory_config", memory_config(&args.memory))
}
