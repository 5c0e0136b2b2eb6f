//! Price of cutting rows: each RISC-V that moves data reads a row, then writes its parts one after another and waits for each.

use bitnetc_plan::op::Reshape;

use super::{Kernel, Priced};

/// The RISC-Vs of a core that move data.
const PROCESSORS: u32 = 2;

pub fn kernel(args: &Reshape, priced: &Priced<'_>) -> Kernel {
    let (rows, columns) = (priced.operands[0].rows(), priced.operands[0].columns());
    let short = args.shape.last().copied().unwrap_or(1).max(1);
    let in_turn = rows.div_ceil(PROCESSORS * priced.machine.card.cores());
    let us_of = |elements: u32| f64::from(elements) * 2.0 / (priced.constants().attention.core_gb_per_s * 1000.0);
    let parts = f64::from(columns.div_ceil(short));
    let row = us_of(columns) + parts * (priced.movement().write_us + us_of(short));
    Kernel::moves((f64::from(in_turn) * row).max(priced.streamed()))
}
