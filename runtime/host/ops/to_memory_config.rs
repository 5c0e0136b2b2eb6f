//! `ttnn.to_memory_config`: the host has one memory, so this is a copy.

use bitnetc_plan::op::ToMemoryConfig;

use crate::DeviceError;
use crate::host::movement;
use crate::host::run::Run;

pub fn execute(_: &ToMemoryConfig, run: &mut Run<'_>) -> Result<(), DeviceError> {
    run.produce(|x, [out]| movement::copy(x.tensor(0)?, out))
}
