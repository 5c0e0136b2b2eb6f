//! Price of a change of layout, measured of tiles to rows.

use super::{Call, Kernel, laws};

pub fn kernel(call: &Call<'_>) -> Kernel {
    laws::measured(call.movement().untilize_us, call)
}
