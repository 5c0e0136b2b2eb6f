//! `ttnn.experimental.nlp_concat_heads`.

use bitnetc_plan::op::ConcatHeads;

use super::Lowering;
use crate::call::PyCall;
use crate::tensor::memory_config;

pub fn lower(args: &ConcatHeads, step: &Lowering<'_>) -> PyCall {
    step.on(&args.input).kwarg("memory_config", memory_config(&args.memory))
}
