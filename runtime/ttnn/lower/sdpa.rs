//! `ttnn.transformer.chunked_scaled_dot_product_attention`.

use bitnetc_plan::op::Sdpa;

use super::{Lowering, config, operand};
use crate::call::{Expr, PyCall};
use crate::tensor::memory_config;

pub fn lower(args: &Sdpa, step: &Lowering<'_>) -> PyCall {
    step.on(&args.q)
        .arg(operand(&args.k_cache))
        .arg(operand(&args.v_cache))
        .arg(operand(&args.pages))
        .kwarg("chunk_start_idx_tensor", operand(&args.start))
        .kwarg("scale", single(step.scalar(0, &args.scale)))
        .kwarg("program_config", config::sdpa(&args.program))
        .kwarg("compute_kernel_config", config::compute(args.compute))
        .kwarg("memory_config", memory_config(&args.memory))
}

/// The number as f32: unlike its siblings, this call's binding refuses a float that f32 does not hold exactly.
fn single(scalar: Expr) -> Expr {
    match scalar {
        Expr::Float(value) => Expr::Float(f64::from(value as f32)),
        Expr::None | Expr::Bool(_) | Expr::Int(_) | Expr::Str(_) | Expr::List(_) | Expr::Tuple(_) => scalar,
        Expr::Name(_) | Expr::Path(_) | Expr::Call(_) => scalar,
    }
}
