//! A norm and a projection per layer on an n150, whose addresses can be counted by hand.

use super::*;
use crate::op::{Binary, BinaryKind, Deallocate, Destination, Matmul, RmsNorm};
use crate::program::NormProgram;
use crate::*;

const END: u64 = 1_499_136;
/// `[32, 320]` bf16 on each core.
const X: u64 = 20_480;

fn card() -> Card {
    Card {
        name: "n150".into(),
        arch: Arch::Wormhole,
        grid: (8, 8),
        l1: card::L1 { base: 105_824, end: END, alignment: 16 },
        dram: card::Dram { banks: 12, base: 1 << 20, bank_bytes: 1 << 30, alignment: 32, readers_per_bank: 1 },
    }
}

fn x_memory() -> MemoryConfig {
    MemoryConfig::width(Cores::rectangle(0, 0, 8, 1), [32, 320])
}

fn x_spec() -> TensorSpec {
    TensorSpec::tile([1, 1, 32, 2560], DType::Bf16, x_memory())
}

fn weight(name: &str, spec: TensorSpec, source: Source) -> Weight {
    Weight { name: name.into(), per_layer: true, spec, address: None, source }
}

fn weights() -> Vec<Weight> {
    let gamma = TensorSpec::row_major([1, 1, 80, 32], DType::Bf16, MemoryConfig::DRAM);
    let o = TensorSpec::tile([1, 1, 2560, 2560], DType::Bfp8, MemoryConfig::dram_width(12, [2560, 224]));
    let trans =
        TensorSpec::tile([1, 1, 64, 32], DType::Bf16, MemoryConfig::height(Cores::row_major(2, (8, 8)), [32, 32]));
    vec![
        weight("gamma", gamma, Source::Ones { len: 2560, factor: 1.0 }),
        weight("o", o, Source::Columns(Vec::new())),
        Weight { per_layer: false, ..weight("trans", trans, Source::RotaryTransform) },
    ]
}

fn value(name: &str) -> Ref {
    Ref::Value(name.into())
}

fn step(name: &str, op: impl Into<Op>, outputs: &[&str]) -> Step {
    let outputs =
        outputs.iter().map(|n| Value { name: (*n).into(), spec: x_spec(), padding: None, address: None }).collect();
    Step {
        name: name.into(),
        op: op.into(),
        outputs,
        l1: Footprint::default(),
        cost: Cost::default(),
        note: String::new(),
    }
}

fn norm(input: &str) -> RmsNorm {
    RmsNorm {
        input: value(input),
        gamma: Ref::Weight("gamma".into()),
        epsilon: 1e-5.into(),
        program: Some(NormProgram { grid: (8, 1), subblock_w: 2, block_h: 1, block_w: 10 }),
        compute: ComputeKernel { fidelity: Fidelity::HiFi4, fp32_dest_acc: true, packer_l1_acc: true },
        memory: x_memory(),
    }
}

fn projection(input: &str) -> Matmul {
    Matmul {
        a: value(input),
        b: Ref::Weight("o".into()),
        program: MatmulProgram::DramSharded {
            in0_block_w: 10,
            per_core_m: 1,
            per_core_n: 10,
            activation: None,
            readers: 1,
        },
        compute: ComputeKernel { fidelity: Fidelity::HiFi2, fp32_dest_acc: false, packer_l1_acc: true },
        dtype: DType::Bf16,
        memory: x_memory(),
    }
}

fn add(a: &str, b: &str, into: Destination) -> Binary {
    Binary {
        kind: BinaryKind::Add,
        a: value(a),
        b: value(b),
        a_activations: vec![],
        b_activations: vec![],
        activations: vec![],
        dtype: DType::Bf16,
        into,
    }
}

fn free(name: &str) -> Step {
    step(&format!("free.{name}"), Deallocate { input: value(name) }, &[])
}

/// The value `x` is made by a norm of the buffer `start`, which no real plan does. The walk's tests are about memory, for which it does
/// not matter how `x` came to be.
fn phase() -> Phase {
    let embed = RmsNorm { input: Ref::Buffer("start".into()), ..norm("") };
    Phase {
        kind: PhaseKind::Decode { batch: 32 },
        prologue: vec![step("embed", RmsNorm { gamma: Ref::Weight("plain".into()), ..embed }, &["x"])],
        layer: vec![
            step("norm", norm("x"), &["h"]),
            step("o", projection("h"), &["y"]),
            free("h"),
            step("add", add("x", "y", Destination::InPlace), &[]),
            free("y"),
        ],
        epilogue: vec![step("double", add("x", "x", Destination::New(MemoryConfig::DRAM)), &["z"]), free("x")],
        results: vec!["z".into()],
        trace: None,
        cost: PhaseCost::default(),
    }
}

fn run(change: impl FnOnce(&mut Phase)) -> Walk {
    let mut phase = phase();
    let out = &mut phase.epilogue[0].outputs[0];
    out.spec.memory = MemoryConfig::DRAM;
    change(&mut phase);
    let start =
        Buffer { name: "start".into(), per_layer: false, spec: x_spec(), address: None, role: BufferRole::Tokens };
    let mut weights = weights();
    weights.push(Weight { name: "plain".into(), per_layer: false, ..weights[0].clone() });
    walk(Context { card: &card(), weights: &weights, buffers: &[start], layers: 3 }, &phase)
}

fn found(walk: &Walk) -> Vec<(Invariant, &Place)> {
    walk.defects.iter().map(|d| (d.invariant, &d.place)).collect()
}

fn at(step: &str) -> Place {
    Place::Step(PhaseKind::Decode { batch: 32 }, step.into())
}

#[test]
fn addresses_and_footprints_count_down_from_the_end() {
    let walk = run(|_| {});
    assert_eq!(walk.defects, []);
    // The 2048 bytes of `trans` and the buffer `start` stay at the end of L1 for the whole phase.
    let (trans, start) = (END - 2048, END - 2048 - X);
    let addresses: Vec<_> = walk.steps.iter().flat_map(|s| s.addresses.clone()).collect();
    // DRAM holds three layers of `gamma` (80 rows of 64 bytes over 12 banks) and `o` (80 rows of 7 tiles), then `plain`.
    let z = (1 << 20) + 3 * (7 * 64 + 80 * 7 * 1088) + 7 * 64;
    assert_eq!(addresses, [Some(start - X), Some(start - 2 * X), Some(start - 3 * X), Some(z)]);
    // The norm's were read from the library; the projection's are two blocks of 10 tiles of `h`, three of 10x7 of the weight, and the result.
    let footprints: Vec<_> = walk.steps.iter().map(|s| (s.footprint.circular_buffers, s.footprint.tensors)).collect();
    assert_eq!(footprints[1], (159_744, 2048 + 3 * X));
    assert_eq!(footprints[2], (20 * 2048 + 210 * 1088 + 7 * 2048, 2048 + 4 * X));
    assert_eq!(footprints[3], (0, 0), "a deallocation launches nothing");
    // `y` lies below the hole that `h` left.
    assert_eq!(footprints[4].1, 2048 + 4 * X);
    let names: Vec<_> = walk.steps[2].live.iter().map(|r| (r.name.as_str(), r.address, r.bytes)).collect();
    let values = [("y", start - 3 * X, X), ("h", start - 2 * X, X), ("x", start - X, X)];
    assert_eq!(names, [&values[..], &[("start", start, X), ("trans", trans, 2048)]].concat());
    assert_eq!(walk.steps[5].section, Section::Layer);
    // 80 tiles of bf16 over 12 banks: 7 in the fullest.
    assert_eq!(walk.dram_end, z + 7 * 2048);
}

#[test]
fn settle_writes_what_the_walk_found() {
    let start =
        Buffer { name: "start".into(), per_layer: false, spec: x_spec(), address: None, role: BufferRole::Tokens };
    let mut weights = weights();
    weights.push(Weight { name: "plain".into(), per_layer: false, ..weights[0].clone() });
    let mut phase = phase();
    phase.epilogue[0].outputs[0].spec.memory = MemoryConfig::DRAM;
    let mut plan = Plan {
        format: FORMAT_VERSION,
        release: TtnnRelease::latest().to_string(),
        model: ModelInfo { name: "m".into(), digest: "0".repeat(64), function: "0".repeat(64), layers: 3, vocab: 32 },
        options: Options {
            policy: "fast".into(),
            overrides: vec![],
            batch: 32,
            context: 64,
            block: 32,
            priced_at: 63,
            proofs: Proofs::Products,
            folding: true,
            sample: false,
            own_kernels: false,
        },
        card: card(),
        weights,
        buffers: vec![start],
        phases: vec![phase],
    };
    settle(&mut plan).unwrap();
    let base = 1 << 20;
    let addresses: Vec<_> = plan.weights.iter().map(|w| w.address).collect();
    let (gamma, o) = (3 * 7 * 64, 3 * 80 * 7 * 1088);
    assert_eq!(addresses, [Some(base), Some(base + gamma), Some(END - 2048), Some(base + gamma + o)]);
    let again = walk(Context::from(&plan), &plan.phases[0]);
    for (step, memory) in plan.phases[0].steps().zip(&again.steps) {
        assert_eq!(step.l1, memory.footprint);
        assert_eq!(step.outputs.iter().map(|v| v.address).collect::<Vec<_>>(), memory.addresses);
    }
    plan.phases[0].layer.remove(2);
    assert_eq!(settle(&mut plan).unwrap_err()[0].invariant, Invariant::LayerLoop);
}

#[test]
fn uses_of_what_is_not_there_are_told() {
    let walk = run(|p| p.layer.swap(0, 1));
    assert_eq!(found(&walk)[0], (Invariant::Defined, &at("o")));
    let walk = run(|p| p.layer.swap(1, 2));
    assert_eq!(found(&walk)[..2], [(Invariant::Used, &at("free.h")), (Invariant::Alive, &at("o"))]);
    let walk = run(|p| p.layer.push(Step { name: "again".into(), ..free("y") }));
    assert_eq!(found(&walk), [(Invariant::Alive, &at("again"))]);
    let walk = run(|p| p.epilogue[0].op = norm("x").into());
    assert_eq!(found(&walk)[0], (Invariant::Defined, &at("double")), "gamma is per layer");
    let walk = run(|p| p.layer.push(step("free.o", Deallocate { input: Ref::Weight("o".into()) }, &[])));
    assert_eq!(found(&walk), [(Invariant::Alive, &at("free.o"))]);
}

#[test]
fn leaks_and_losses_of_a_layer_are_told() {
    let walk = run(|p| drop(p.layer.remove(2)));
    assert_eq!(found(&walk), [(Invariant::LayerLoop, &Place::Step(PhaseKind::Decode { batch: 32 }, "norm".into()))]);
    let walk = run(|p| p.layer.push(free("x")));
    // The walk reports the deallocation but does not carry it out, so that the following steps find the prologue's value.
    assert_eq!(found(&walk), [(Invariant::Used, &at("free.x")), (Invariant::LayerLoop, &at("free.x"))]);
    let walk = run(|p| drop(p.epilogue.remove(1)));
    assert_eq!(found(&walk), [(Invariant::Freed, &at("embed"))]);
    let walk = run(|p| p.results = vec!["z".into(), "x".into()]);
    assert_eq!(found(&walk), [(Invariant::Freed, &Place::Phase(PhaseKind::Decode { batch: 32 }))]);
}

#[test]
fn work_for_nothing_is_told() {
    let walk = run(|p| drop(p.layer.remove(3)));
    assert_eq!(found(&walk), [(Invariant::Used, &at("free.y"))]);
}

#[test]
fn declared_outputs_are_compared_with_the_rules() {
    let walk = run(|p| p.layer[1].outputs[0].spec.dtype = DType::Bfp8);
    assert_eq!(found(&walk)[0], (Invariant::Outputs, &at("o")));
    let walk = run(|p| p.layer[1].outputs.clear());
    assert_eq!(found(&walk)[0], (Invariant::Outputs, &at("o")));
    let walk = run(|p| p.layer[0].op = RmsNorm { program: None, ..norm("x") }.into());
    assert_eq!(found(&walk)[0].1, &at("norm"));
}

#[test]
fn a_full_l1_is_told() {
    let walk = run(|p| {
        let big = TensorSpec::tile([1, 1, 32 * 64 * 300, 64], DType::F32, MemoryConfig::L1);
        p.layer[0].outputs[0].spec = big;
    });
    assert!(found(&walk).contains(&(Invariant::L1Capacity, &at("norm"))), "{:?}", walk.defects);
}
