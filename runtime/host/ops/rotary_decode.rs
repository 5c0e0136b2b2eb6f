//! `ttnn.experimental.rotary_embedding_llama` of decode: q or k, `[1, B, heads, D]`, by tables `[1, B, rows, D]`.

use bitnetc_plan::op::RotaryDecode;

use crate::DeviceError;
use crate::host::rotate::{Tables, by_user};
use crate::host::run::Run;

pub fn execute(_: &RotaryDecode, run: &mut Run<'_>) -> Result<(), DeviceError> {
    run.produce(|x, [out]| by_user(x.tensor(0)?, Tables::of(x, 1)?, 0, out))
}
