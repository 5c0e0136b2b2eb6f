//! `ttnn.abs`.

use bitnetc_numerics::Function;
use bitnetc_plan::op::AbsOp;

use crate::DeviceError;
use crate::host::rows;
use crate::host::run::Run;

pub fn execute(_: &AbsOp, run: &mut Run<'_>) -> Result<(), DeviceError> {
    run.produce(|x, [out]| rows::unary(&[Function::Abs], x.tensor(0)?, out))
}
