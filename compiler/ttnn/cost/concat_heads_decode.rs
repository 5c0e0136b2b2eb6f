//! Price of joining heads in decode.

use bitnetc_plan::op::ConcatHeadsDecode;

use super::{Kernel, Priced, laws};

pub fn kernel(_: &ConcatHeadsDecode, priced: &Priced<'_>) -> Kernel {
    laws::measured(priced.movement().concat_heads_us, priced)
}
