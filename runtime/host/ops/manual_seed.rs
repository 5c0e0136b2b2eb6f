//! `ttnn.manual_seed` of each user's core.

use bitnetc_plan::op::ManualSeed;

use crate::DeviceError;
use crate::host::run::Run;

/// Cores that any card has at most.
const CORES: u64 = 1 << 10;

pub fn execute(_: &ManualSeed, run: &mut Run<'_>) -> Result<(), DeviceError> {
    let operands = run.operands();
    let seeds: Vec<(u32, u32)> =
        operands.integers(1)?.iter().copied().zip(operands.integers(0)?.iter().copied()).collect();
    for (core, seed) in seeds {
        if u64::from(core) >= CORES {
            return Err(DeviceError::Range { what: "generator", got: i64::from(core), limit: CORES });
        }
        run.device.generators.seed(core as usize, seed);
    }
    Ok(())
}
