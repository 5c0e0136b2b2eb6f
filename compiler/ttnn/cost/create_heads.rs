//! Price of splitting a fused projection into heads in prefill.

use bitnetc_plan::op::CreateHeads;

use super::{Kernel, Priced, laws};

pub fn kernel(_: &CreateHeads, priced: &Priced<'_>) -> Kernel {
    laws::measured(priced.movement().create_heads_us, priced)
}
