//! Price of looking up rows of a table.

use bitnetc_plan::op::Embedding;

use super::{Call, Kernel, laws};

pub fn kernel(_: &Embedding, call: &Call<'_>) -> Kernel {
    laws::measured(call.movement().embedding_us, call)
}
