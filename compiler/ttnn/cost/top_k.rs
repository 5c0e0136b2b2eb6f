//! Price of the largest elements of each row, by the kernel that searches them.

use bitnetc_plan::TILE;
use bitnetc_plan::op::TopK;
use bitnetc_plan::ttnn::Search;

use super::{Kernel, Priced};

/// One core takes its tiles one after another. Several share the tiles, and one more merges a tile of each. A core that has a row to itself
/// takes its columns one after another.
pub fn kernel(_: &TopK, priced: &Priced<'_>) -> Kernel {
    let (c, columns) = (&priced.constants().sampling, priced.operands[0].columns());
    let us = match Search::of(columns, priced.cx.target.card.arch) {
        Search::OneCore => c.tile_us * f64::from(columns / TILE),
        Search::Cores { cores, tiles } => c.shared_tile_us * f64::from(tiles) + c.merged_tile_us * f64::from(cores),
        Search::Rows => c.row_per_1000_us * f64::from(columns) / 1000.0,
    };
    Kernel::moves(us.max(priced.streamed()))
}
