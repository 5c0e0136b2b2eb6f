//! Finds the values of a phase that hold integers of 8 bits, and the matmuls that are exact because of it.
//!
//! Quantised activations are rounded and clamped to -128..=127 by the step that makes them, and steps that only move elements keep them
//! integers. A matmul of such a value by a ternary weight that sums in fp32 gives the exact integer sum at every math fidelity, so a device
//! may compute it in integers, which is much faster: see `bitnetc_numerics`' ternary matmul.

use std::collections::HashSet;

use bitnetc_plan::op::{Op, Ref};
use bitnetc_plan::weight::Content;
use bitnetc_plan::{DType, Phase, Plan, Source, Unary};

/// Names of the values that hold integers from -128 to 127.
pub fn values(phase: &Phase) -> HashSet<&str> {
    let mut integers = HashSet::new();
    for step in phase.steps() {
        let fits = step.outputs.iter().all(|value| holds_integers(value.spec.dtype));
        if let (Op::QuantizeRows(_), Some(made)) = (&step.op, step.outputs.first()) {
            integers.insert(made.name.as_str());
        }
        let made = fits && (rounds(&step.op) || moves(&step.op, &integers));
        if made {
            integers.extend(step.outputs.iter().map(|value| value.name.as_str()));
        }
    }
    // A value written in place later is no longer what it was.
    for step in phase.steps() {
        for written in step.op.written() {
            if let Ref::Value(name) = written {
                integers.remove(name.as_str());
            }
        }
    }
    integers
}

/// True of a call that makes integers of anything.
fn rounds(op: &Op) -> bool {
    let Op::Binary(binary) = op else { return false };
    matches!(binary.activations.as_slice(), [.., Unary::Round, Unary::Clamp(low, high)] if *low >= -128.0 && *high <= 127.0)
}

/// True of a call whose results have the elements of a value of integers.
fn moves(op: &Op, integers: &HashSet<&str>) -> bool {
    op.uses().iter().any(|operand| operand.role.is_source() && kept(operand.tensor, integers))
}

fn kept(input: &Ref, integers: &HashSet<&str>) -> bool {
    matches!(input, Ref::Value(name) if integers.contains(name.as_str()))
}

fn holds_integers(dtype: DType) -> bool {
    matches!(dtype, DType::Bf16 | DType::F32)
}

/// True when `op` is a matmul of such a value by a ternary weight with sums in fp32.
pub fn is_integer_matmul(plan: &Plan, op: &Op, integers: &HashSet<&str>) -> bool {
    let (a, b, compute) = if let Op::Matmul(args) = op {
        (&args.a, &args.b, args.compute)
    } else if let Op::TernaryLinear(args) = op {
        (&args.a, &args.b, args.compute)
    } else {
        return false;
    };
    let Ref::Weight(name) = b else { return false };
    let ternary = plan.weight(name).is_some_and(|weight| match &weight.source {
        Source::Columns(matrices) => matrices.iter().all(|m| m.content != Content::Dense),
        Source::Rows(_) | Source::Vectors(_) | Source::Ones { .. } => false,
        Source::RotaryTable { .. } | Source::RotaryTransform => false,
    });
    ternary && kept(a, integers) && compute.fp32_dest_acc
}
