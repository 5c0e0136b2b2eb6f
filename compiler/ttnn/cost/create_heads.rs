//! Price of splitting a fused projection into heads in prefill.

use bitnetc_plan::op::CreateHeads;

use super::{Call, Kernel, laws};

pub fn kernel(_: &CreateHeads, call: &Call<'_>) -> Kernel {
    laws::measured(call.movement().create_heads_us, call)
}
