//! Price of looking up rows of a value.

use bitnetc_plan::op::GatherRows;

use super::{Kernel, Priced, laws};

pub fn kernel(_: &GatherRows, priced: &Priced<'_>) -> Kernel {
    laws::measured(priced.movement().embedding_us, priced)
}
