//! `ttnn.transpose`.

use bitnetc_plan::op::Transpose;

use super::Lowering;
use crate::call::PyCall;
use crate::tensor::memory_config;

pub fn lower(args: &Transpose, step: &Lowering<'_>) -> PyCall {
    step.on(&args.input).arg(args.dims.0).arg(args.dims.1).kwarg("memory_config", memory_config(&args.memory))
}
