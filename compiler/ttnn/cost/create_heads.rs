//! Price of splitting a fused projection into heads in prefill.

use super::{Call, Kernel, laws};

pub fn kernel(call: &Call<'_>) -> Kernel {
    laws::measured(call.movement().create_heads_us, call)
}
