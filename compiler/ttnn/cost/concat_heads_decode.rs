//! Price of joining heads in decode.

use super::{Call, Kernel, laws};

pub fn kernel(call: &Call<'_>) -> Kernel {
    laws::measured(call.movement().concat_heads_us, call)
}
