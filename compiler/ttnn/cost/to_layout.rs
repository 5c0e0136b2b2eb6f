//! Price of a change of layout, measured of tiles to rows.

use bitnetc_plan::Layout;
use bitnetc_plan::op::ToLayout;

use super::{Kernel, Priced, laws};

pub fn kernel(args: &ToLayout, priced: &Priced<'_>) -> Kernel {
    let turns = match args.layout {
        Layout::Tile => laws::rows_in_turn(priced.operands[0], priced),
        Layout::RowMajor => 0.0,
    };
    Kernel::moves(priced.movement().untilize_us.max(priced.streamed()) + turns)
}
