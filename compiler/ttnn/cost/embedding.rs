//! Price of looking up rows of a table.

use bitnetc_plan::op::Embedding;

use super::{Kernel, Priced, laws};

pub fn kernel(_: &Embedding, priced: &Priced<'_>) -> Kernel {
    laws::measured(priced.movement().embedding_us, priced)
}
