//! `ttnn.experimental.nlp_concat_heads`: a prompt's heads side by side.

use bitnetc_plan::op::ConcatHeads;

use crate::DeviceError;
use crate::host::heads::{Order, join};
use crate::host::run::Run;

pub fn execute(_: &ConcatHeads, run: &mut Run<'_>) -> Result<(), DeviceError> {
    run.produce(|x, [out]| join(x.tensor(0)?, out, Order::ByHead))
}
