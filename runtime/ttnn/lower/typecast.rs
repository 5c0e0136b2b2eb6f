//! `ttnn.typecast`.

use bitnetc_plan::op::Typecast;

use super::{Lowering, dtype};
use crate::call::PyCall;
use crate::tensor::memory_config;

pub fn lower(args: &Typecast, step: &Lowering<'_>) -> PyCall {
    step.on(&args.input).arg(dtype(args.dtype)).kwarg("memory_config", memory_config(&args.memory))
}
