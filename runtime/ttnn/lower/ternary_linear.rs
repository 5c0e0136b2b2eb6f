//! `ternary_linear`, a function of bitnetc's own that calls `ttnn.generic_op`.

use bitnetc_plan::op::TernaryLinear;

use super::{Lowering, dtype, operand};
use crate::call::{Expr, PyCall};
use crate::tensor::memory_config;

pub fn lower(args: &TernaryLinear, _: &Lowering<'_>) -> PyCall {
    PyCall::kernels("ternary_linear")
        .arg(operand(&args.a))
        .arg(operand(&args.b))
        .kwarg("block_tiles", args.program.in0_block_w)
        .kwarg("buffers", args.program.buffers)
        .kwarg("relu", args.program.activation.is_some())
        .kwarg("math_fidelity", Expr::ttnn(format!("MathFidelity.{}", args.compute.fidelity)))
        .kwarg("fp32_dest_acc_en", args.compute.fp32_dest_acc)
        .kwarg("dtype", dtype(args.dtype))
        .kwarg("memory_config", memory_config(&args.memory))
}
