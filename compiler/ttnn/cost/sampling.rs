//! Price of drawing a token of each user: a time for all of them, since each has a core of its own.

use bitnetc_plan::op::Sampling;

use super::{Kernel, Priced};

pub fn kernel(_: &Sampling, priced: &Priced<'_>) -> Kernel {
    Kernel::moves(priced.constants().sampling.draw_us)
}
