//! Candidates of elementwise calls: products, residual additions and the quantisation of activations.
//!
//! Operands and results share one placement, since TT-NN reuses buffers without copying only when the specs are identical.

use bitnetc_plan::op::{AbsOp, Binary, BinaryKind, Destination, RowMax, Typecast};
use bitnetc_plan::ttnn::Violation;
use bitnetc_plan::{DType, Memory, MemoryConfig, Ref, Scalar, Unary};

use super::{Context, Drafting, Ways, heads, placements};
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
                    kind: BinaryKind::Mul,
                    a: d.input(0),
                    b: d.input(1),
                    a_activations: a.to_vec(),
                    b_activations: b.to_vec(),
                    activations: vec![],
                    dtype,
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

/// `|x|`, its row maximum, and one product that scales, rounds and clamps.
///
/// The maximum is f32, for with an f32 operand the product's destination register is fp32: a bf16 one would truncate the factor, so that the
/// largest number of a row mostly became 126, and would round the product to 8 bits before it is rounded to an integer. Either the
/// magnitudes are made in f32, or their maximum is converted, which is a program more and fewer bytes.
pub fn quantize(call: &Call, cx: &Context<'_>, floor: &Scalar, ways: &mut Ways) {
    let Some(input) = call.values().next() else { return };
    for memory in shared_placements(cx, input) {
        ways.consider(
            cx,
            call,
            vec![memory.clone()],
            || format!("{memory}, magnitudes in f32"),
            |d| {
                let (x, magnitudes, maxima) = (d.input(0), format!("{}.abs", call.name), d.output_name(1));
                // Half of |x + x|, which no bf16 number loses a bit in: TT-NN's abs keeps the type of its operand.
                let abs = Binary {
                    kind: BinaryKind::Add,
                    a: x.clone(),
                    b: x,
                    a_activations: vec![],
                    b_activations: vec![],
                    activations: vec![Unary::Abs, Unary::MulScalar(Scalar::constant(0.5))],
                    dtype: DType::F32,
                    into: Destination::New(memory.clone()),
                };
                d.named_step(magnitudes.clone(), abs, vec![magnitudes.clone()])?;
                let row_max = RowMax { input: Ref::Value(magnitudes), memory: beside(&memory) };
                d.named_step(maxima.clone(), row_max, vec![maxima])?;
                integers(d, call, floor, &memory)
            },
        );
        ways.consider(
            cx,
            call,
            vec![memory.clone()],
            || format!("{memory}, maxima converted to f32"),
            |d| {
                let (magnitudes, maxima) = (format!("{}.abs", call.name), d.output_name(1));
                let abs = AbsOp { input: d.input(0), memory: memory.clone() };
                d.named_step(magnitudes.clone(), abs, vec![magnitudes.clone()])?;
                let narrow = format!("{maxima}.bf16");
                let row_max = RowMax { input: Ref::Value(magnitudes), memory: beside(&memory) };
                d.named_step(narrow.clone(), row_max, vec![narrow.clone()])?;
                let widen = Typecast { input: Ref::Value(narrow), dtype: DType::F32, memory: beside(&memory) };
                d.named_step(maxima.clone(), widen, vec![maxima])?;
                integers(d, call, floor, &memory)
            },
        );
    }
}

/// The product of a quantisation, once its row maxima are there.
fn integers(d: &mut Drafting<'_>, call: &Call, floor: &Scalar, memory: &MemoryConfig) -> Result<(), Vec<Violation>> {
    let product = Binary {
        kind: BinaryKind::Mul,
        a: d.input(0),
        b: Ref::Value(d.output_name(1)),
        a_activations: vec![],
        b_activations: vec![Unary::MaxScalar(floor.clone()), Unary::Recip, Unary::MulScalar(Scalar::constant(127.0))],
        activations: vec![Unary::Round, Unary::Clamp(-128.0, 127.0)],
        dtype: DType::Bf16,
        into: Destination::New(memory.clone()),
    };
    let result = d.output_name(0);
    d.named_step(call.name.clone(), product, vec![result])
}

/// `y * scale * (maximum / 127)^power`, row by row.
pub fn dequantize(call: &Call, cx: &Context<'_>, (scale, floor, power): (&Scalar, &Scalar, u32), ways: &mut Ways) {
    let Some(input) = call.values().next() else { return };
    let mut factors = vec![Unary::MaxScalar(floor.clone())];
    if power == 1 {
        factors.push(Unary::MulScalar(Scalar { value: scale.value / 127.0, scales: scale.scales.clone() }));
    } else {
        factors.extend([Unary::MulScalar(Scalar::constant(1.0 / 127.0)), Unary::Power(power)]);
        factors.push(Unary::MulScalar(scale.clone()));
    }
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
                        b_activations: factors.clone(),
                        activations: vec![],
                        dtype: DType::Bf16,
                        into: Destination::New(memory.clone()),
                    })
                },
            );
        }
    }
}
