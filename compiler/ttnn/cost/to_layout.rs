//! Price of a change of layout, measured of tiles to rows.

use bitnetc_plan::op::ToLayout;

use super::{Kernel, Priced, laws};

pub fn kernel(_: &ToLayout, priced: &Priced<'_>) -> Kernel {
    laws::measured(priced.movement().untilize_us, priced)
}
