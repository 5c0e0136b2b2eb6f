//! Price of looking up rows of a table.

use super::{Kernel, Priced, laws};

pub fn kernel(priced: &Priced<'_>) -> Kernel {
    laws::measured(priced.movement().embedding_us, priced)
}
