//! Price of a change of layout, measured of tiles to rows.

use bitnetc_plan::op::ToLayout;

use super::{Call, Kernel, laws};

pub fn kernel(_: &ToLayout, call: &Call<'_>) -> Kernel {
    laws::measured(call.movement().untilize_us, call)
}
