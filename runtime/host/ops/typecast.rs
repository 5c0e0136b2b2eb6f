//! `ttnn.typecast` between float types, and of integers to wider ones.

use bitnetc_numerics::kernels;
use bitnetc_plan::op::Typecast;

use crate::DeviceError;
use crate::host::rows;
use crate::host::run::Run;
use crate::host::tensor::Data;
use crate::weights::bytes::format_of;

pub fn execute(_: &Typecast, run: &mut Run<'_>) -> Result<(), DeviceError> {
    let exact = run.exact();
    run.produce(|x, [out]| {
        let (input, columns) = (x.tensor(0)?, out.columns());
        match (&input.data, &mut out.data, format_of(out.spec.dtype)) {
            (Data::Bf16(from), Data::Bf16(to), Some(format)) if exact && from.len() == to.len() => {
                to.copy_from_slice(from);
                Ok(kernels::typecast(format, columns, to)?)
            }
            (Data::Integer(from), Data::Integer(to), _) if from.len() == to.len() => {
                to.copy_from_slice(from);
                Ok(())
            }
            _ => rows::unary(&[], input, out),
        }
    })
}
