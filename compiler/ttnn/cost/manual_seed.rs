//! Price of seeding random numbers, which takes a core the same time whether it finds itself among the generators or not.

use bitnetc_plan::op::ManualSeed;

use super::{Kernel, Priced};

pub fn kernel(_: &ManualSeed, priced: &Priced<'_>) -> Kernel {
    Kernel::moves(priced.constants().sampling.seed_us)
}
