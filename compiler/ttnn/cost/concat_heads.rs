//! Price of joining heads in prefill.

use bitnetc_plan::op::ConcatHeads;

use super::{Kernel, Priced, laws};

pub fn kernel(_: &ConcatHeads, priced: &Priced<'_>) -> Kernel {
    laws::measured(priced.movement().concat_heads_us, priced)
}
