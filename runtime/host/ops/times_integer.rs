//! `ttnn.multiply` of integers by a number.

use bitnetc_plan::op::TimesInteger;

use crate::DeviceError;
use crate::host::run::Run;

pub fn execute(op: &TimesInteger, run: &mut Run<'_>) -> Result<(), DeviceError> {
    run.produce(|x, [out]| out.set_integers(x.integers(0)?.iter().map(|number| number.wrapping_mul(op.factor))))
}
