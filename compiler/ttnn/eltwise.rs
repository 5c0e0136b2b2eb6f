//! Candidates of elementwise calls: products and residual additions.
//!
//! Operands and results share one placement, since TT-NN reuses buffers without copying only when the specs are identical.

use bitnetc_plan::op::{Binary, BinaryKind, Destination};
use bitnetc_plan::{DType, MemoryConfig, Ref, Scalar, Unary};

use super::{Context, Ways, heads, placements};
use crate::schedule::{Call, Kind, ValueId};

/// The placements that operands and result of an elementwise call may share.
pub fn shared_placements(cx: &Context<'_>, value: ValueId) -> Vec<MemoryConfig> {
    placements::features(&cx.spec(value, MemoryConfig::DRAM), placements::head_count(cx, value), &cx.target.card)
}

/// A sum or product of two operands, without functions of either or of the result.
pub fn plain(kind: BinaryKind, (a, b): (Ref, Ref), dtype: DType, into: Destination) -> Binary {
    Binary { kind, a, b, a_activations: vec![], b_activations: vec![], activations: vec![], dtype, into }
}

/// `x += scale * y`.
pub fn add_into(call: &Call, cx: &Context<'_>, scale: &Scalar, ways: &mut Ways) {
    let Some(stream) = call.values().next() else { return };
    let one = scale.is_constant() && scale.value == 1.0;
    for memory in shared_placements(cx, stream) {
        ways.consider(
            cx,
            call,
            vec![memory.clone(); 2],
            || format!("in place, {memory}"),
            |d| {
                d.step(Binary {
                    b_activations: if one { vec![] } else { vec![Unary::MulScalar(scale.clone())] },
                    ..plain(BinaryKind::Add, (d.input(0), d.input(1)), DType::Bf16, Destination::InPlace)
                })
            },
        );
    }
}

/// `x + vector`, row by row. The vector is a tensor of one row, which TT-NN's binary kernel repeats.
pub fn bias(call: &Call, cx: &Context<'_>, ways: &mut Ways) {
    let Some(input) = call.values().next() else { return };
    for memory in shared_placements(cx, input) {
        ways.consider(
            cx,
            call,
            vec![memory.clone()],
            || memory.to_string(),
            |d| d.step(plain(BinaryKind::Add, (d.input(0), d.input(1)), DType::Bf16, Destination::New(memory.clone()))),
        );
    }
}

/// `a * b` after each operand's functions.
pub fn multiply(call: &Call, cx: &Context<'_>, a: &[Unary], b: &[Unary], ways: &mut Ways) {
    let (Some(left), Some(product)) = (call.values().next(), call.outputs.first()) else { return };
    let dtype = cx.schedule.values[*product].dtype;
    for memory in shared_placements(cx, left) {
        ways.consider(
            cx,
            call,
            vec![memory.clone(); 2],
            || memory.to_string(),
            |d| {
                d.step(Binary {
                    a_activations: a.to_vec(),
                    b_activations: b.to_vec(),
                    ..plain(BinaryKind::Mul, (d.input(0), d.input(1)), dtype, Destination::New(memory.clone()))
                })
            },
        );
    }
}

/// `x * scale`, computed as a sum of two halves. TT-NN's binary ops take a constant factor on an operand only, and the sum of two equal
/// numbers is exact, so the result is rounded once.
pub fn scale(call: &Call, cx: &Context<'_>, scale: &Scalar, ways: &mut Ways) {
    let Some(input) = call.values().next() else { return };
    let value = &cx.schedule.values[input];
    let mut homes = shared_placements(cx, input);
    if cx.decode() && cx.schedule.layer.iter().any(|c| made_heads(c, input)) {
        let (users, heads, head_dim) = (value.shape[1], value.shape[2], value.shape[3]);
        homes.extend([0, users].map(|skip| heads::users_on(cx, skip, users, heads, head_dim)));
    }
    let half = Scalar { value: scale.value / 2.0, scales: scale.scales.clone() };
    for memory in homes {
        ways.consider(
            cx,
            call,
            vec![memory.clone()],
            || memory.to_string(),
            |d| {
                d.step(Binary {
                    a_activations: vec![Unary::MulScalar(half.clone())],
                    b_activations: vec![Unary::MulScalar(half.clone())],
                    ..plain(BinaryKind::Add, (d.input(0), d.input(0)), value.dtype, Destination::New(memory.clone()))
                })
            },
        );
    }
}

fn made_heads(call: &Call, value: ValueId) -> bool {
    matches!(call.kind, Kind::CreateHeads { .. }) && call.outputs.contains(&value)
}
