//! Verifies a plan that is written by hand: its figures are known from TT-NN, and each invariant is broken at least once.

mod decode;
mod function;

use super::*;
use crate::op::Destination;
use crate::*;
use decode::plan;

fn step<'p>(plan: &'p mut Plan, name: &str) -> &'p mut Step {
    let phase = &mut plan.phases[0];
    let steps = phase.prologue.iter_mut().chain(&mut phase.layer).chain(&mut phase.epilogue);
    steps.into_iter().find(|s| s.name == name).unwrap_or_else(|| panic!("no step {name}"))
}

/// The defects of the plan after `change`.
fn defects(change: impl FnOnce(&mut Plan)) -> Vec<Defect> {
    let mut plan = plan();
    change(&mut plan);
    verify(&plan).map(|_| ()).expect_err("the change was not noticed")
}

#[track_caller]
fn broken(invariant: Invariant, change: impl FnOnce(&mut Plan)) {
    let found = defects(change);
    assert!(found.iter().any(|d| d.invariant == invariant), "{found:#?}");
}

#[track_caller]
fn only(invariant: Invariant, change: impl FnOnce(&mut Plan)) {
    let found = defects(change);
    assert!(found.iter().all(|d| d.invariant == invariant), "{found:#?}");
}

#[test]
fn the_accepted_layer_is_sound_and_its_sizes_are_tt_nns() {
    let plan = plan();
    let verified = verify(&plan).unwrap_or_else(|d| panic!("{d:#?}"));
    let programs: u32 = verified.walks()[0]
        .steps
        .iter()
        .filter(|s| s.section == Section::Layer)
        .filter_map(|s| s.outcome.as_ref())
        .map(|o| o.programs)
        .sum();
    assert_eq!(programs, 18);
    // Read from the TT-NN of `crate::release` on a mock n150.
    let expected = [
        ("input_norm.out", 159_744),
        ("qkv", 387_840),
        ("split", 0),
        // The kernels keep a user's row of the page table too, 32 blocks; without one they take 180,864 and 172,288 bytes.
        ("update", 180_992),
        ("attend", 172_416),
        ("heads", 0),
        ("concat", 0),
        ("attn_sub_norm.out", 98_304),
        ("o", 122_112),
        ("attn.add", 0),
        ("post_norm.out", 159_744),
        ("gate", 665_344),
        ("up", 665_344),
        ("mul", 4096),
        ("ffn_sub_norm.out", 157_696),
        ("down", 256_832),
    ];
    for (name, bytes) in expected {
        let found = plan.phases[0].steps().find(|s| s.name == name).unwrap();
        assert_eq!(found.l1.circular_buffers, bytes, "{name}");
    }
    let dram = verified.dram();
    assert!(dram.total() < plan.card.dram.bank_bytes && dram.weights > 100_000_000, "{dram:?}");
}

#[test]
fn numbers_out_of_bounds_end_the_look() {
    only(Invariant::Format, |p| p.format = FORMAT_VERSION + 1);
    only(Invariant::Release, |p| p.release = "0.1".into());
    only(Invariant::Card, |p| p.card.grid = (0, 8));
    only(Invariant::Card, |p| p.card.l1.base = p.card.l1.end);
    only(Invariant::Card, |p| p.card.dram.alignment = 33);
    only(Invariant::Card, |p| p.card.dram.banks = 0);
    only(Invariant::Card, |p| p.card.dram.readers_per_bank = 0);
    only(Invariant::Options, |p| p.options.batch = 33);
    only(Invariant::Options, |p| p.options.context = 32);
    only(Invariant::Options, |p| p.options.priced_at = p.options.context);
    only(Invariant::Options, |p| p.model.layers = 0);
    only(Invariant::Options, |p| p.model.vocab = 0);
    only(Invariant::Options, |p| p.options.block = 48);
    only(Invariant::Options, |p| p.model.digest = "DEADBEEF".into());
    only(Invariant::Bounds, |p| p.weights[0].spec.shape = vec![1; 5]);
    only(Invariant::Bounds, |p| p.buffers[4].spec.shape[0] = u32::MAX);
    only(Invariant::Bounds, |p| p.weights[3].spec.memory = MemoryConfig::height(Cores::rectangle(0, 0, 8, 8), [0, 32]));
    only(Invariant::Bounds, |p| p.weights[3].spec.memory = MemoryConfig::height(Cores(vec![]), [32, 32]));
    only(Invariant::Bounds, |p| {
        p.weights[3].spec.memory = MemoryConfig::height(Cores::rectangle(u32::MAX - 1, 0, 2, 1), [32, 32]);
    });
    only(Invariant::Bounds, |p| {
        let Source::Columns(parts) = &mut p.weights.iter_mut().find(|w| w.name == "qkv").unwrap().source else {
            unreachable!()
        };
        parts[0].outputs.as_mut().unwrap().to = u32::MAX;
    });
    only(Invariant::Bounds, |p| {
        let Op::Matmul(args) = &mut step(p, "qkv").op else { unreachable!() };
        args.program =
            MatmulProgram::DramSharded { in0_block_w: 0, per_core_m: 1, per_core_n: 4, activation: None, readers: 1 };
    });
}

#[test]
fn names_and_phases_are_unique_and_in_order() {
    only(Invariant::Names, |p| step(p, "gate").name = "up".into());
    broken(Invariant::Names, |p| step(p, "gate").outputs[0].name = "up.out".into());
    broken(Invariant::Names, |p| p.weights[1].name = "trans".into());
    broken(Invariant::Names, |p| step(p, "gate").outputs[0].name.clear());
    only(Invariant::Names, |p| step(p, "gate").name.clear());
    broken(Invariant::Names, |p| p.phases.push(p.phases[0].clone()));
    broken(Invariant::Names, |p| p.phases[0].kind = PhaseKind::Prefill { tokens: 48 });
    broken(Invariant::Names, |p| p.phases[0].kind = PhaseKind::Decode { batch: 16 });
    // A plan without phases uses no weight and no buffer, so that only the missing phases are left to tell.
    only(Invariant::Names, |p| {
        p.phases.clear();
        p.weights.clear();
        p.buffers.clear();
    });
}

#[test]
fn weights_are_what_their_sources_make() {
    let source = |name: &'static str, change: fn(&mut Weight)| {
        only(Invariant::WeightSource, |p| change(p.weights.iter_mut().find(|w| w.name == name).unwrap()));
    };
    let matrices = |w: &mut Weight| match std::mem::replace(&mut w.source, Source::RotaryTransform) {
        Source::Columns(matrices) => matrices,
        _ => unreachable!(),
    };
    source("trans", |w| w.source = Source::Ones { len: 32, factor: 1.0 });
    source("input_norm", |w| w.source = Source::Ones { len: 2528, factor: 1.0 });
    source("cos", |w| {
        if let Source::RotaryTable { positions, .. } = &mut w.source {
            *positions -= 1;
        }
    });
    for name in ["cos", "trans"] {
        broken(Invariant::WeightSource, |p| p.weights.iter_mut().find(|w| w.name == name).unwrap().per_layer = true);
    }
    source("norm", |w| {
        if let Source::Vectors(parts) = &mut w.source {
            parts[0].factor = f64::INFINITY;
        }
    });
    source("norm", |w| {
        if let Source::Vectors(parts) = &mut w.source {
            parts[0].tensor = "model.layers.{layer}.norm".into();
        }
    });
    source("o", |w| {
        if let Source::Columns(matrices) = &mut w.source {
            matrices[0].shape[0] = 2528;
        }
    });
    // A matrix that is narrower by less than a tile is noticed too.
    source("o", |w| {
        if let Source::Columns(matrices) = &mut w.source {
            matrices[0].shape[1] = 2559;
        }
    });
    only(Invariant::WeightSource, |p| {
        let qkv = p.weights.iter_mut().find(|w| w.name == "qkv").unwrap();
        let mut parts = matrices(qkv);
        parts[0].outputs.as_mut().unwrap().groups = 19;
        qkv.source = Source::Columns(parts);
    });
    only(Invariant::WeightSource, |p| {
        let qkv = p.weights.iter_mut().find(|w| w.name == "qkv").unwrap();
        let mut parts = matrices(qkv);
        parts[0].outputs = None;
        qkv.source = Source::Columns(parts);
    });
    only(Invariant::WeightSource, |p| {
        let chunk = p.weights.iter_mut().find(|w| w.name == "lm_head.1").unwrap();
        let mut parts = matrices(chunk);
        parts[0].rows = Some((16_032, 32_063));
        chunk.source = Source::Columns(parts);
    });
}

#[test]
fn buffers_are_what_their_roles_ask() {
    broken(Invariant::BufferRole, |p| p.buffers[0].spec.shape = vec![1, 32]);
    broken(Invariant::BufferRole, |p| p.buffers[4].per_layer = false);
    broken(Invariant::BufferRole, |p| p.buffers[5].spec.dtype = DType::Bf16);
    broken(Invariant::BufferRole, |p| p.options.context = 4096);
    broken(Invariant::Names, |p| p.buffers[5].role = BufferRole::KeyCache);
    broken(Invariant::Placement, |p| p.buffers[1].spec.memory = MemoryConfig::L1);
}

#[test]
fn placements_exist_on_the_card() {
    let off_grid = MemoryConfig::height(Cores::rectangle(8, 0, 8, 8), [32, 32]);
    broken(Invariant::Placement, |p| p.weights[3].spec.memory = off_grid);
    broken(Invariant::Placement, |p| p.card.dram.banks = 8);
    broken(Invariant::Placement, |p| p.weights[13].spec.dtype = DType::Bfp8);
    broken(Invariant::Placement, |p| p.weights[5].spec.memory = MemoryConfig::L1);
}

#[test]
fn scalars_can_be_evaluated() {
    let scale = |change: fn(&mut Scalar)| {
        only(Invariant::Scalar, |p| {
            let Op::SdpaDecode(args) = &mut step(p, "attend").op else { unreachable!() };
            change(&mut args.scale);
        });
    };
    scale(|s| s.value = f64::NAN);
    scale(|s| s.scales[0].0 = "model.embed_tokens.weight".into());
    scale(|s| s.scales[0].0 = "model.layers.{layer}.unknown".into());
    scale(|s| s.scales[0].1 = 0);
    scale(|s| s.value = 0.0);
    scale(|s| s.value = -1.0);
    only(Invariant::Scalar, |p| {
        let Op::RmsNorm(args) = &mut step(p, "norm.out").op else { unreachable!() };
        args.epsilon.value = 0.0;
    });
    let function = |invariant, unary: fn() -> Unary| {
        broken(invariant, |p| {
            let Op::Binary(args) = &mut step(p, "mul").op else { unreachable!() };
            args.b_activations.push(unary());
        });
    };
    function(Invariant::Scalar, || Unary::MaxScalar((-1.0).into()));
    function(Invariant::Scalar, || Unary::MulScalar(0.0.into()));
    function(Invariant::Bounds, || Unary::Clamp(-128.0, 0.0));
    only(Invariant::Scalar, |p| {
        let Op::RmsNorm(args) = &mut step(p, "norm.out").op else { unreachable!() };
        args.epsilon.scales.push(("model.layers.{layer}.o.weight".into(), -2));
    });
}

#[test]
fn addresses_and_footprints_are_compared() {
    only(Invariant::Address, |p| step(p, "gate").outputs[0].address = Some(1_000_000));
    only(Invariant::Address, |p| step(p, "split").outputs[1].address = None);
    only(Invariant::Address, |p| step(p, "logits").outputs[0].address = Some(0));
    only(Invariant::Address, |p| p.weights[3].address = None);
    only(Invariant::Address, |p| p.buffers[3].address = p.buffers[2].address);
    only(Invariant::Address, |p| *p.weights[0].address.as_mut().unwrap() += 32);
    only(Invariant::Footprint, |p| step(p, "gate").l1.circular_buffers -= 64);
    only(Invariant::Footprint, |p| step(p, "gate").l1.tensors += 32);
    only(Invariant::Footprint, |p| step(p, "free.gated").l1.tensors = 32);
}

#[test]
fn capacities_are_kept() {
    broken(Invariant::L1Capacity, |p| p.card.l1.base = 800_000);
    broken(Invariant::L1Capacity, |p| p.card.l1.end = 200_000);
    only(Invariant::DramCapacity, |p| p.card.dram.bank_bytes = 100_000_000);
    only(Invariant::DramCapacity, |p| {
        p.model.layers = 300;
        assert!(crate::walk::settle(p).is_err());
    });
    // Room for the tensors, but not for the commands of the trace and the kernels above them.
    let dram = verify(&plan()).unwrap().dram();
    assert!(dram.traces > 500_000 && dram.kernels > 50_000, "{dram:?}");
    only(Invariant::DramCapacity, |p| p.card.dram.bank_bytes = dram.total() - 1);
    let mut exact = plan();
    exact.card.dram.bank_bytes = dram.total();
    assert_eq!(verify(&exact).unwrap().dram(), dram);
}

#[test]
fn persistent_buffers_flow_as_their_roles_ask() {
    broken(Invariant::Dataflow, |p| {
        let Op::CacheUpdate(args) = &mut step(p, "update").op else { unreachable!() };
        std::mem::swap(&mut args.k_cache, &mut args.v_cache);
    });
    broken(Invariant::Dataflow, |p| p.phases[0].layer.retain(|s| s.name != "update"));
    broken(Invariant::Dataflow, |p| p.phases[0].epilogue.retain(|s| s.name != "argmax"));
    broken(Invariant::Dataflow, |p| p.phases[0].epilogue.retain(|s| s.name != "rotary_positions.next"));
    only(Invariant::Dataflow, |p| {
        let Op::PlusOne(args) = &mut step(p, "positions.next").op else { unreachable!() };
        args.skip_negative = false;
    });
    only(Invariant::Dataflow, |p| {
        let again = Step { name: "again".into(), ..step(p, "positions.next").clone() };
        p.phases[0].epilogue.push(again);
    });
    only(Invariant::Dataflow, |p| {
        let next = p.phases[0].epilogue.pop().unwrap();
        p.phases[0].prologue.insert(0, next);
    });
    broken(Invariant::Dataflow, |p| {
        let next = p.phases[0].epilogue.pop().unwrap();
        p.phases[0].layer.insert(0, next);
    });
    broken(Invariant::Dataflow, |p| {
        let Op::PlusOne(args) = &mut step(p, "positions.next").op else { unreachable!() };
        args.buffer = Ref::Buffer("rotary_positions".into());
    });
    // The queries do not depend on the update, but attention has to read the token that it writes.
    broken(Invariant::Dataflow, |p| {
        let layer = &mut p.phases[0].layer;
        let at = |name| layer.iter().position(|s| s.name == name).unwrap();
        let (update, attend) = (at("update"), at("attend"));
        layer.swap(update, attend);
    });
}

#[test]
fn a_trace_is_replayable() {
    let trace = |change: fn(&mut Trace)| only(Invariant::Trace, |p| change(p.phases[0].trace.as_mut().unwrap()));
    trace(|t| t.warm_up = 0);
    trace(|t| t.warm_up = u32::MAX);
    trace(|t| t.inputs.clear());
    trace(|t| t.inputs.push("no such buffer".into()));
    trace(|t| t.inputs.push("page_table".into()));
    trace(|t| t.inputs.push("k_cache".into()));
    trace(|t| drop(t.feedback.pop()));
    trace(|t| t.feedback.push("page_table".into()));
}

#[test]
fn calls_are_legal_and_return_what_is_declared() {
    broken(Invariant::Legal, |p| {
        let Op::SdpaDecode(args) = &mut step(p, "attend").op else { unreachable!() };
        args.program.k_chunk = 96;
    });
    broken(Invariant::Outputs, |p| step(p, "gate").outputs[0].spec.dtype = DType::F32);
    broken(Invariant::Outputs, |p| drop(step(p, "split").outputs.pop()));
}

#[test]
fn operands_are_defined_and_alive() {
    broken(Invariant::Defined, |p| {
        let Op::RmsNorm(args) = &mut step(p, "norm.out").op else { unreachable!() };
        args.gamma = Ref::Weight("input_norm".into());
    });
    broken(Invariant::Defined, |p| {
        let Op::Binary(args) = &mut step(p, "attn.add").op else { unreachable!() };
        args.a = Ref::Weight("o".into());
    });
    broken(Invariant::Alive, |p| {
        let layer = &mut p.phases[0].layer;
        let at = |name| layer.iter().position(|s| s.name == name).unwrap();
        let (free, gate) = (at("free.post_norm.out"), at("up"));
        layer.swap(free, gate);
    });
    broken(Invariant::Alive, |p| {
        let Op::Deallocate(args) = &mut step(p, "free.gated").op else { unreachable!() };
        args.input = Ref::Weight("down".into());
    });
    broken(Invariant::LayerLoop, |p| {
        let Op::Deallocate(args) = &mut step(p, "free.gated").op else { unreachable!() };
        args.input = Ref::Value("cos".into());
    });
}

#[test]
fn results_and_uses_are_complete() {
    only(Invariant::Freed, |p| p.phases[0].results.clear());
    broken(Invariant::Freed, |p| p.phases[0].results.push("x".into()));
    broken(Invariant::Used, |p| p.weights.push(Weight { name: "spare".into(), ..p.weights[0].clone() }));
    broken(Invariant::Used, |p| {
        let Op::Binary(args) = &mut step(p, "attn.add").op else { unreachable!() };
        args.b = Ref::Value("x".into());
        assert_eq!(args.into, Destination::InPlace);
    });
    only(Invariant::Cost, |p| step(p, "gate").cost.us = -1.0);
    only(Invariant::Cost, |p| p.phases[0].cost.host_us = Some(f64::INFINITY));
    only(Invariant::Cost, |p| p.phases[0].cost.band_us.1 = f64::NAN);
    only(Invariant::Cost, |p| p.phases[0].cost.positions.push((4095, -1.0)));
}

#[test]
fn a_defect_tells_where_and_what() {
    let found = defects(|p| step(p, "gate").l1.circular_buffers = 1);
    assert_eq!(found[0].to_string(), "decode, step `gate`: 1 B of circular buffers, the call takes 665 kB (665,344 B)");
}
