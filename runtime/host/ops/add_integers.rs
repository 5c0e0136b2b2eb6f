//! `ttnn.add` of integers.

use bitnetc_plan::op::AddIntegers;

use crate::DeviceError;
use crate::host::run::Run;

pub fn execute(_: &AddIntegers, run: &mut Run<'_>) -> Result<(), DeviceError> {
    run.produce(|x, [out]| {
        let (a, b) = (x.integers(0)?, x.integers(1)?);
        out.set_integers(a.iter().zip(b).map(|(a, b)| a.wrapping_add(*b)))
    })
}
