//! `ttnn.to_layout`.

use bitnetc_plan::op::ToLayout;

use super::{Lowering, layout};
use crate::call::PyCall;
use crate::tensor::memory_config;

pub fn lower(args: &ToLayout, step: &Lowering<'_>) -> PyCall {
    step.on(&args.input).arg(layout(args.layout)).kwarg("memory_config", memory_config(&args.memory))
}
