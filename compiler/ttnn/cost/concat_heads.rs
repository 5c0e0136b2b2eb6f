//! Price of joining heads in prefill.

use bitnetc_plan::op::ConcatHeads;

use super::{Call, Kernel, laws};

pub fn kernel(_: &ConcatHeads, call: &Call<'_>) -> Kernel {
    laws::measured(call.movement().concat_heads_us, call)
}
