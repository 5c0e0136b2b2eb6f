//! Candidates of calls that quantise activations by row, and of those that apply the row's factor again.

use bitnetc_plan::op::{AbsOp, AddRows, Binary, BinaryKind, Destination, QuantizeRows, RowMax, Typecast};
use bitnetc_plan::ttnn::Violation;
use bitnetc_plan::{DType, Fingerprint, Memory, MemoryConfig, Ref, Scalar, Strategy, Unary, kernels};

use super::eltwise::{plain, shared_placements};
use super::{Context, Drafting, Ways};
use crate::schedule::Call;

/// The placement of row maxima beside a tensor in `placement`. They have one column, `[.., 1]`, which is never worth sharding.
fn beside(memory: &MemoryConfig) -> MemoryConfig {
    MemoryConfig::Interleaved(memory.memory())
}

/// `|x|`, its row maximum, and one product that scales, rounds and clamps.
///
/// The maximum is f32, for with an f32 operand the product's destination register is fp32: a bf16 one would truncate the factor, so that the
/// largest number of a row mostly became 126, and would round the product to 8 bits before it is rounded to an integer. Either the
/// magnitudes are made in f32, or their maximum is converted, which is a program more and fewer bytes.
pub fn quantize(call: &Call, cx: &Context<'_>, (floor, own_kernels): (&Scalar, bool), ways: &mut Ways) {
    let Some(input) = call.values().next() else { return };
    for memory in shared_placements(cx, input) {
        if own_kernels && memory.strategy() == Some(Strategy::Width) {
            ways.consider(
                cx,
                call,
                vec![memory.clone()],
                || format!("own kernels, {memory}"),
                |d| {
                    let results = vec![d.output_name(0), d.output_name(1)];
                    let kernels = Fingerprint(kernels::QUANTIZE_ROWS.fingerprint());
                    let op = QuantizeRows { input: d.input(0), floor: floor.clone(), kernels };
                    d.named_step(call.name.clone(), op, results)
                },
            );
        }
        ways.consider(
            cx,
            call,
            vec![memory.clone()],
            || format!("{memory}, magnitudes in f32"),
            |d| {
                let (x, magnitudes, maxima) = (d.input(0), format!("{}.abs", call.name), d.output_name(1));
                // Half of |x + x|, which no bf16 number loses a bit in: TT-NN's abs keeps the type of its operand.
                let abs = Binary {
                    activations: vec![Unary::Abs, Unary::MulScalar(Scalar::constant(0.5))],
                    ..plain(BinaryKind::Add, (x.clone(), x), DType::F32, Destination::New(memory.clone()))
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
        b_activations: vec![Unary::MaxScalar(floor.clone()), Unary::Recip, Unary::MulScalar(Scalar::constant(127.0))],
        activations: vec![Unary::Round, Unary::Clamp(-128.0, 127.0)],
        ..plain(
            BinaryKind::Mul,
            (d.input(0), Ref::Value(d.output_name(1))),
            DType::Bf16,
            Destination::New(memory.clone()),
        )
    };
    let result = d.output_name(0);
    d.named_step(call.name.clone(), product, vec![result])
}

/// `x += y * scale * maximum / 127`, row by row: by kernels of bitnetc's own in one step, or by TT-NN's in two.
pub fn add_dequantized(call: &Call, cx: &Context<'_>, scale: &Scalar, floor: &Scalar, ways: &mut Ways) {
    let Some(stream) = call.values().next() else { return };
    let factor = Scalar { value: scale.value / 127.0, scales: scale.scales.clone() };
    for memory in shared_placements(cx, stream) {
        for home in homes(&memory) {
            let from = vec![memory.clone(), memory.clone(), home.clone()];
            if memory.strategy() == Some(Strategy::Width) {
                ways.consider(
                    cx,
                    call,
                    from.clone(),
                    || format!("own kernels, in place, {memory}"),
                    |d| {
                        d.step(AddRows {
                            a: d.input(0),
                            b: d.input(1),
                            factors: d.input(2),
                            floor: floor.clone(),
                            scale: factor.clone(),
                            kernels: Fingerprint(kernels::ADD_ROWS.fingerprint()),
                        })
                    },
                );
            }
            ways.consider(
                cx,
                call,
                from,
                || format!("in place, {memory}"),
                |d| {
                    let dequantised = format!("{}.dequant", call.name);
                    let product = Binary {
                        b_activations: vec![Unary::MaxScalar(floor.clone()), Unary::MulScalar(factor.clone())],
                        ..plain(
                            BinaryKind::Mul,
                            (d.input(1), d.input(2)),
                            DType::Bf16,
                            Destination::New(memory.clone()),
                        )
                    };
                    d.named_step(dequantised.clone(), product, vec![dequantised.clone()])?;
                    d.step(plain(
                        BinaryKind::Add,
                        (d.input(0), Ref::Value(dequantised)),
                        DType::Bf16,
                        Destination::InPlace,
                    ))
                },
            );
        }
    }
}

/// Where row maxima may lie beside a tensor in `memory`.
fn homes(memory: &MemoryConfig) -> Vec<MemoryConfig> {
    match memory.memory() {
        Memory::L1 => vec![MemoryConfig::L1],
        Memory::Dram => vec![MemoryConfig::DRAM, MemoryConfig::L1],
    }
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
        for home in homes(&memory) {
            ways.consider(
                cx,
                call,
                vec![memory.clone(), home.clone()],
                || memory.to_string(),
                |d| {
                    d.step(Binary {
                        b_activations: factors.clone(),
                        ..plain(
                            BinaryKind::Mul,
                            (d.input(0), d.input(1)),
                            DType::Bf16,
                            Destination::New(memory.clone()),
                        )
                    })
                },
            );
        }
    }
}
