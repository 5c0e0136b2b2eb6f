//! Price of joining heads in decode.

use bitnetc_plan::op::ConcatHeadsDecode;

use super::{Call, Kernel, laws};

pub fn kernel(_: &ConcatHeadsDecode, call: &Call<'_>) -> Kernel {
    laws::measured(call.movement().concat_heads_us, call)
}
