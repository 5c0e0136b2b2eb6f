//! `ternary_linear`: the product that `ttnn.linear` computes of the same operands in one K-block.

use bitnetc_plan::TILE;
use bitnetc_plan::op::TernaryLinear;

use crate::DeviceError;
use crate::host::matmul::matmul;
use crate::host::run::{Held, Run, wrong_kind};

pub fn execute(op: &TernaryLinear, run: &mut Run<'_>) -> Result<(), DeviceError> {
    let (integer, arch) = (run.step.integer, run.device.arch);
    run.produce(|x, [out]| {
        let Held::Matrix(w) = x.held(1)? else { return Err(wrong_kind(1, "no weight matrix", "one")) };
        let a = x.tensor(0)?;
        let linear = op.linear(a.columns() as u32 / TILE);
        matmul(&linear, integer, arch, a, w, out, &mut x.scratch.matmul)
    })
}
