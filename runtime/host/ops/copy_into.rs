//! `ttnn.copy`, into a buffer.

use bitnetc_plan::op::CopyInto;

use crate::DeviceError;
use crate::host::movement;
use crate::host::run::Run;

pub fn execute(_: &CopyInto, run: &mut Run<'_>) -> Result<(), DeviceError> {
    run.change(1, |x, out| movement::copy(x.tensor(0)?, out))
}
