//! `ttnn.typecast` between float types.

use crate::DeviceError;
use crate::host::rows;
use crate::host::run::Run;

pub fn execute(run: &mut Run<'_>) -> Result<(), DeviceError> {
    run.produce(|x, [out]| rows::unary(&[], x.tensor(0)?, out))
}
