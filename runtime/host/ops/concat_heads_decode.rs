//! `ttnn.experimental.nlp_concat_heads_decode`: the users' heads side by side.

use bitnetc_plan::op::ConcatHeadsDecode;

use crate::DeviceError;
use crate::host::heads::{Order, join};
use crate::host::run::Run;

pub fn execute(_: &ConcatHeadsDecode, run: &mut Run<'_>) -> Result<(), DeviceError> {
    run.produce(|x, [out]| {
        // The result has whole tiles of rows: those past the last user are zeros.
        out.clear();
        join(x.tensor(0)?, out, Order::ByUser)
    })
}
