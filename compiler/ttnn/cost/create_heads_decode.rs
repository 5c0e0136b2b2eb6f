//! Price of splitting a fused projection into heads in decode.

use bitnetc_plan::op::CreateHeadsDecode;

use super::{Call, Kernel, laws};

pub fn kernel(_: &CreateHeadsDecode, call: &Call<'_>) -> Kernel {
    laws::measured(call.movement().create_heads_us, call)
}
