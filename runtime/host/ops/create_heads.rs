//! `ttnn.experimental.nlp_create_qkv_heads`: a prompt's fused projection to q, k and v by head.

use bitnetc_plan::op::CreateHeads;

use crate::DeviceError;
use crate::host::heads::{Order, split};
use crate::host::run::Run;

pub fn execute(_: &CreateHeads, run: &mut Run<'_>) -> Result<(), DeviceError> {
    run.produce::<3>(|x, outs| split(x.tensor(0)?, outs, Order::ByHead))
}
