//! Rows of integers, one for each user, on which plans calculate: the constraint that the ops on them share.

use super::checks::Checks;
use super::constraint::{constraints, values};
use crate::{DType, Layout, MemoryConfig, TILE, TensorSpec};

constraints! { "integers", "";
    ROW_OF_INTEGERS: "The integers are one row of u32, row-major, interleaved in DRAM, 32 at most."
        because "there is one for each user; others were not studied"
        => "a row of integers {input}", "one row of up to 32 u32, row-major in DRAM";
}

/// Requires a row of integers.
pub(super) fn require_row(x: &TensorSpec, checks: &mut Checks) {
    let row = x.layout == Layout::RowMajor && x.dtype == DType::U32 && x.matrix_rows() == 1;
    let placed = x.memory == MemoryConfig::DRAM && x.columns() <= TILE;
    checks.require(&ROW_OF_INTEGERS, row && placed, values![input = x]);
}
