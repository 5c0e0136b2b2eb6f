//! `ttnn.experimental.nlp_create_qkv_heads_decode`: the users' fused projections to q, k and v by user.

use bitnetc_plan::op::CreateHeadsDecode;

use crate::DeviceError;
use crate::host::heads::{Order, split};
use crate::host::run::Run;

pub fn execute(_: &CreateHeadsDecode, run: &mut Run<'_>) -> Result<(), DeviceError> {
    run.produce::<3>(|x, outs| split(x.tensor(0)?, outs, Order::ByUser))
}
