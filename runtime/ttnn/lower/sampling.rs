//! `ttnn.sampling`, into a buffer. Without a seed of its own it goes on with each core's random numbers, which a trace needs: a seed would be
//! part of the program and draw the same at every replay.

use bitnetc_plan::op::Sampling;

use super::{Lowering, operand};
use crate::call::PyCall;

pub fn lower(args: &Sampling, step: &Lowering<'_>) -> PyCall {
    step.on(&args.values)
        .arg(operand(&args.tokens))
        .kwarg("k", operand(&args.k))
        .kwarg("p", operand(&args.p))
        .kwarg("temp", operand(&args.inverse_temperature))
        .kwarg("output_tensor", operand(&args.output))
}
