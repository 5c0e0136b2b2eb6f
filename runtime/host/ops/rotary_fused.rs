//! `ttnn.experimental.rotary_embedding_llama_fused_qk`: q and k, `[1, B, heads, D]`, by tables `[1, 2B, rows, D]`, whose first half is q's.

use bitnetc_plan::op::RotaryFused;

use crate::DeviceError;
use crate::host::rotate::{Tables, by_user};
use crate::host::run::Run;

pub fn execute(_: &RotaryFused, run: &mut Run<'_>) -> Result<(), DeviceError> {
    run.produce(|x, [q, k]| {
        let (tables, users) = (Tables::of(x, 2)?, q.dim(1));
        by_user(x.tensor(0)?, tables, 0, q)?;
        by_user(x.tensor(1)?, tables, users, k)
    })
}
