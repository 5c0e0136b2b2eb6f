//! Price of looking up rows of a table.

use super::{Call, Kernel, laws};

pub fn kernel(call: &Call<'_>) -> Kernel {
    laws::measured(call.movement().embedding_us, call)
}
