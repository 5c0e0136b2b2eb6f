//! Price of the index of the largest element of each row.
//!
//! The kernel is a scalar loop of the two RISC-Vs that move data. They share the rows of a tensor, all cores share its columns, and one core
//! compares what the cores have found in a row (`reader_argmax_interleaved_multicore.cpp`).

use bitnetc_plan::op;

use super::{Kernel, Priced};
use crate::target::ArgMax;

/// The RISC-Vs of a core that share rows.
const READERS: u32 = 2;

/// Columns below which a row is not shared by one more core.
const LEAST_COLUMNS: u32 = 32;

pub fn kernel(_: &op::ArgMax, priced: &Priced<'_>) -> Kernel {
    search(priced)
}

/// The search over the rows of the first operand.
pub(super) fn search(priced: &Priced<'_>) -> Kernel {
    let logits = priced.operands[0];
    let (rows, columns) = (logits.rows(), logits.columns());
    let cores = columns.div_ceil(LEAST_COLUMNS).clamp(1, priced.machine.card.cores());
    Kernel::moves(us(&priced.constants().argmax, rows, columns, cores))
}

/// Microseconds for rows of `columns` elements on a number of cores.
pub fn us(c: &ArgMax, rows: u32, columns: u32, cores: u32) -> f64 {
    let in_turn = f64::from(rows.div_ceil(READERS));
    let row = c.row_us + c.element_ns * f64::from(columns.div_ceil(cores)) / 1000.0;
    c.start_us + in_turn * row + f64::from(rows) * f64::from(cores) * c.merge_ns / 1000.0
}
