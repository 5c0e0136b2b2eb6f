//! Price of splitting a fused projection into heads in decode.

use bitnetc_plan::op::CreateHeadsDecode;

use super::{Kernel, Priced, laws};

pub fn kernel(_: &CreateHeadsDecode, priced: &Priced<'_>) -> Kernel {
    laws::measured(priced.movement().create_heads_us, priced)
}
