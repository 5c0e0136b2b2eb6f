//! `ternary_linear`, a function of bitnetc's own that calls `ttnn.generic_op`.

use bitnetc_plan::op::TernaryLinear;
use bitnetc_plan::{ComputeKernel, DType, MemoryConfig, TernaryProgram};

use super::{Lowering, dtype, operand};
use crate::call::{Expr, PyCall};
use crate::tensor::memory_config;

pub fn lower(args: &TernaryLinear, _: &Lowering<'_>) -> PyCall {
    let call = PyCall::kernels("ternary_linear")
        .arg(operand(&args.a))
        .arg(operand(&args.b))
        .kwarg("relu", args.program.activation.is_some());
    options(call, &args.program, args.compute, args.dtype, &args.memory)
}

/// The call with the options that all functions of these kernels take.
pub fn options(
    call: PyCall,
    program: &TernaryProgram,
    compute: ComputeKernel,
    result: DType,
    memory: &MemoryConfig,
) -> PyCall {
    call.kwarg("block_tiles", program.in0_block_w)
        .kwarg("readers", program.readers)
        .kwarg("math_fidelity", Expr::ttnn(format!("MathFidelity.{}", compute.fidelity)))
        .kwarg("fp32_dest_acc_en", compute.fp32_dest_acc)
        .kwarg("dtype", dtype(result))
        .kwarg("memory_config", memory_config(memory))
}
