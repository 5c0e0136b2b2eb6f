//! Price of a change of layout, measured of tiles to rows.

use super::{Kernel, Priced, laws};

pub fn kernel(priced: &Priced<'_>) -> Kernel {
    laws::measured(priced.movement().untilize_us, priced)
}
