//! Candidates of elementwise calls: products, residual additions and the quantisation of activations.
//!
//! Operands and results share one placement, since TT-NN reuses buffers without copying only when the specs are identical.

use bitnetc_plan::op::{AbsOp, Binary, BinaryKind, Destination, RowMax};
use bitnetc_plan::{DType, Memory, MemoryConfig, Ref, Scalar, Unary};

use super::{Context, Ways, heads, placements};
use crate::schedule::{Call, Kind, ValueId};

fn shared_placements(cx: &Context<'_>, value: ValueId) -> Vec<MemoryConfig> {
    placements::features(&cx.spec(value, MemoryConfig::DRAM), placements::head_count(cx, value), &cx.target.card)
}

/// The placement of row maxima beside a tensor in `placement`. They have one column, `[.., 1]`, which is never worth sharding.
fn beside(memory: &MemoryConfig) -> MemoryConfig {
    MemoryConfig::Interleaved(memory.memory())
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
                    kind: BinaryKind::Add,
                    a: d.input(0),
                    b: d.input(1),
                    a_activations: vec![],
                    b_activations: if one { vec![] } else { vec![Unary::MulScalar(scale.clone())] },
                    activations: vec![],
                    dtype: DType::Bf16,
                    into: Destination::InPlace,
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
            |d| {
                d.step(Binary {
                    kind: BinaryKind::Add,
                    a: d.input(0),
                    b: d.input(1),
                    a_activations: vec![],
                    b_activations: vec![],
                    activations: vec![],
                    dtype: DType::Bf16,
                    into: Destination::New(memory.clone()),
                })
            },
        );
    }
}

/// `a * b` after each operand's functions.
pub fn multiply(call: &Call, cx: &Context<'_>, a: &[Unary], b: &[Unary], ways: &mut Ways) {
    let Some(left) = call.values().next() else { return };
    for memory in shared_placements(cx, left) {
        ways.consider(
            cx,
            call,
            vec![memory.clone(); 2],
            || memory.to_string(),
            |d| {
                d.step(Binary {
                    kind: BinaryKind::Mul,
                    a: d.input(0),
                    b: d.input(1),
                    a_activations: a.to_vec(),
                    b_activations: b.to_vec(),
                    activations: vec![],
                    dtype: DType::Bf16,
                    into: Destination::New(memory.clone()),
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
                    kind: BinaryKind::Add,
                    a: d.input(0),
                    b: d.input(0),
                    a_activations: vec![Unary::MulScalar(half.clone())],
                    b_activations: vec![Unary::MulScalar(half.clone())],
                    activations: vec![],
                    dtype: value.dtype,
                    into: Destination::New(memory.clone()),
                })
            },
        );
    }
}

fn made_heads(call: &Call, value: ValueId) -> bool {
    matches!(call.kind, Kind::CreateHeads { .. }) && call.outputs.contains(&value)
}

/// Three steps: `|x|`, its row maximum, and one product that scales, rounds and clamps.
pub fn quantize(call: &Call, cx: &Context<'_>, floor: &Scalar, ways: &mut Ways) {
    let Some(input) = call.values().next() else { return };
    for memory in shared_placements(cx, input) {
        ways.consider(
            cx,
            call,
            vec![memory.clone()],
            || memory.to_string(),
            |d| {
                let (integers, maxima) = (d.output_name(0), d.output_name(1));
                let magnitudes = format!("{}.abs", call.name);
                d.named_step(
                    magnitudes.clone(),
                    AbsOp { input: d.input(0), memory: memory.clone() },
                    vec![magnitudes.clone()],
                )?;
                let row_max = RowMax { input: Ref::Value(magnitudes), memory: beside(&memory) };
                d.named_step(maxima.clone(), row_max, vec![maxima.clone()])?;
                let product = Binary {
                    kind: BinaryKind::Mul,
                    a: d.input(0),
                    b: Ref::Value(maxima),
                    a_activations: vec![],
                    b_activations: vec![
                        Unary::MaxScalar(floor.clone()),
                        Unary::Recip,
                        Unary::MulScalar(Scalar::constant(127.0)),
                    ],
                    activations: vec![Unary::Round, Unary::Clamp(-128.0, 127.0)],
                    dtype: DType::Bf16,
                    into: Destination::New(memory.clone()),
                };
                d.named_step(call.name.clone(), product, vec![integers])
            },
        );
    }
}

/// `y * scale * maximum / 127`, row by row.
pub fn dequantize(call: &Call, cx: &Context<'_>, scale: &Scalar, floor: &Scalar, ways: &mut Ways) {
    let Some(input) = call.values().next() else { return };
    let factor = Scalar { value: scale.value / 127.0, scales: scale.scales.clone() };
    for memory in shared_placements(cx, input) {
        let homes = if memory.memory() == Memory::L1 {
            vec![MemoryConfig::L1]
        } else {
            vec![MemoryConfig::DRAM, MemoryConfig::L1]
        };
        for home in homes {
            ways.consider(
                cx,
                call,
                vec![memory.clone(), home.clone()],
                || memory.to_string(),
                |d| {
                    d.step(Binary {
                        kind: BinaryKind::Mul,
                        a: d.input(0),
                        b: d.input(1),
                        a_activations: vec![],
                        b_activations: vec![Unary::MaxScalar(floor.clone()), Unary::MulScalar(factor.clone())],
                        activations: vec![],
                        dtype: DType::Bf16,
                        into: Destination::New(memory.clone()),
                    })
                },
            );
        }
    }
}
