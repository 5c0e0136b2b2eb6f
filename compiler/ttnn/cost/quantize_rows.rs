//! Price of rows as integers, from the loops of its kernels; no card has run them.
//!
//! A core passes over its tiles twice, for their magnitudes and for their integers. In between all cores meet at the first one, and it sends
//! them the maxima.

use bitnetc_plan::op::QuantizeRows;

use super::{Kernel, Priced, laws};

/// Microseconds of the way to the first core and back. It is two writes of some bytes, two increments of semaphores and the turning of two
/// tiles; a norm whose cores meet twice starts in five to six microseconds with all that it computes.
const MEETING_US: f64 = 1.5;

pub fn kernel(_: &QuantizeRows, priced: &Priced<'_>) -> Kernel {
    laws::elementwise_in(2.0 * laws::product_us(priced) + MEETING_US, priced)
}
