//! `ttnn.plus_one`: every element of an integer tensor grows by one.

use bitnetc_plan::op::PlusOne;

use crate::DeviceError;
use crate::host::run::Run;
use crate::host::tensor::Data;

pub fn execute(_: &PlusOne, run: &mut Run<'_>) -> Result<(), DeviceError> {
    run.change(0, |_, buffer| {
        let Data::Integer(values) = &mut buffer.data else { return Err(buffer.unexpected(0, "integers")) };
        values.iter_mut().for_each(|v| *v = v.wrapping_add(1));
        Ok(())
    })
}
