//! `ttnn.linear`: the product by a weight, in whichever of its three forms the device holds it ([`crate::host::matmul`]).

use bitnetc_plan::op::Matmul;

use crate::DeviceError;
use crate::host::matmul::matmul;
use crate::host::run::{Held, Run, wrong_kind};

pub fn execute(op: &Matmul, run: &mut Run<'_>) -> Result<(), DeviceError> {
    let (integer, arch) = (run.step.integer, run.device.arch);
    run.produce(|x, [out]| {
        let Held::Matrix(w) = x.held(1)? else { return Err(wrong_kind(1, "no weight matrix", "one")) };
        matmul(op, integer, arch, x.tensor(0)?, w, out, &mut x.scratch.matmul)
    })
}
