//! Finds the values of a phase that hold integers of 8 bits, and the matmuls that are exact because of it.
//!
//! Quantised activations are rounded and clamped to -128..=127 by the step that makes them, and steps that only move elements keep them
//! integers. A matmul of such a value by a ternary weight that sums in fp32 gives the exact integer sum at every math fidelity, so a device
//! may compute it in integers, which is much faster: see `bitnetc_numerics`' ternary matmul.

use std::collections::HashSet;

use bitnetc_plan::op::{Destination, Op, Ref};
use bitnetc_plan::weight::Content;
use bitnetc_plan::{DType, Phase, Plan, Source, Unary};

/// Names of the values that hold integers from -128 to 127.
pub fn values(phase: &Phase) -> HashSet<&str> {
    let mut integers = HashSet::new();
    for step in phase.steps() {
        let made = match &step.op {
            Op::Binary(b) => {
                let rounded = matches!(b.activations.as_slice(), [.., Unary::Round, Unary::Clamp(low, high)]
                    if *low >= -128.0 && *high <= 127.0);
                rounded && holds_integers(b.dtype) && matches!(b.into, Destination::New(_))
            }
            Op::ToMemoryConfig(op) => kept(&op.input, &integers),
            Op::ToLayout(op) => kept(&op.input, &integers),
            Op::View(op) => kept(&op.input, &integers),
            Op::Transpose(op) => kept(&op.input, &integers),
            Op::Slice(op) => kept(&op.input, &integers),
            Op::Typecast(op) => kept(&op.input, &integers) && holds_integers(op.dtype),
            Op::Embedding(_) | Op::RmsNorm(_) | Op::Matmul(_) | Op::CreateHeadsDecode(_) | Op::CreateHeads(_) => false,
            Op::RotaryFused(_) | Op::RotaryDecode(_) | Op::Rotary(_) => false,
            Op::CacheUpdate(_) | Op::CacheUpdateOne(_) | Op::CacheFill(_) => false,
            Op::SdpaDecode(_) | Op::Sdpa(_) | Op::ConcatHeadsDecode(_) | Op::ConcatHeads(_) => false,
            Op::Concat(_) | Op::Abs(_) | Op::RowMax(_) | Op::ArgMax(_) | Op::PlusOne(_) | Op::Deallocate(_) => false,
        };
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

fn kept(input: &Ref, integers: &HashSet<&str>) -> bool {
    matches!(input, Ref::Value(name) if integers.contains(name.as_str()))
}

fn holds_integers(dtype: DType) -> bool {
    matches!(dtype, DType::Bf16 | DType::F32)
}

/// True when `op` is a matmul of such a value by a ternary weight with sums in fp32.
pub fn is_integer_matmul(plan: &Plan, op: &Op, integers: &HashSet<&str>) -> bool {
    let Op::Matmul(matmul) = op else { return false };
    let Ref::Weight(name) = &matmul.b else { return false };
    let ternary = plan.weight(name).is_some_and(|weight| match &weight.source {
        Source::Columns(matrices) => matrices.iter().all(|m| m.content != Content::Dense),
        Source::Rows(_) | Source::Vector { .. } | Source::Ones { .. } => false,
        Source::RotaryTable { .. } | Source::RotaryTransform => false,
    });
    ternary && kept(&matmul.a, integers) && matmul.compute.fp32_dest_acc
}
