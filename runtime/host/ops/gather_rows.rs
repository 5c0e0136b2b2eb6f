//! `ttnn.embedding` of a value.

use bitnetc_plan::op::GatherRows;

use super::embedding::from_memory;
use crate::DeviceError;
use crate::host::run::Run;

pub fn execute(_: &GatherRows, run: &mut Run<'_>) -> Result<(), DeviceError> {
    run.produce(|x, [out]| from_memory(x.integers(0)?, x.tensor(1)?, out))
}
