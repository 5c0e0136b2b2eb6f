//! `ternary_gated`: the bits of its calls apart, two products and the product of their results.

use std::sync::Arc;

use bitnetc_plan::TILE;
use bitnetc_plan::op::TernaryGated;

use super::binary;
use crate::DeviceError;
use crate::host::matmul::matmul;
use crate::host::run::{Held, Run, wrong_kind};

pub fn execute(op: &TernaryGated, run: &mut Run<'_>) -> Result<(), DeviceError> {
    let (arch, exact) = (run.device.arch, run.exact().then_some(run.device.arch));
    let (gate, up, product) = op.apart();
    let spec = Arc::clone(run.output()?);
    let (mut gates, mut ups) = (run.device.pool.take(&spec)?, run.device.pool.take(&spec)?);
    let done = run.produce(|x, [out]| {
        let a = x.tensor(0)?;
        for (operand, call, to) in [(1, &gate, &mut gates), (2, &up, &mut ups)] {
            let Held::Matrix(w) = x.held(operand)? else { return Err(wrong_kind(operand, "no weight matrix", "one")) };
            matmul(&call.linear(a.columns() as u32 / TILE), false, arch, a, w, to, &mut x.scratch.matmul)?;
        }
        binary::binary(&product, exact, (&gates, &ups), out, &mut x.scratch.binary)
    });
    run.device.pool.give(gates);
    run.device.pool.give(ups);
    done
}
