//! `ttnn.experimental.nlp_concat_heads_decode`.

use bitnetc_plan::op::ConcatHeadsDecode;

use super::Lowering;
use crate::call::PyCall;
use crate::tensor::core_range_set;

pub fn lower(args: &ConcatHeadsDecode, step: &Lowering<'_>) -> PyCall {
    step.on(&args.input).kwarg("num_heads", args.heads).kwarg("sub_core_grids", core_range_set(&args.cores))
}
