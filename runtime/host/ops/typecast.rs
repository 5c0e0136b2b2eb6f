//! `ttnn.typecast` between float types.

use bitnetc_plan::op::Typecast;

use crate::DeviceError;
use crate::host::rows;
use crate::host::run::Run;

pub fn execute(_: &Typecast, run: &mut Run<'_>) -> Result<(), DeviceError> {
    run.produce(|x, [out]| rows::unary(&[], x.tensor(0)?, out))
}
