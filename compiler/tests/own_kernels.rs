//! Kernels of bitnetc's own beside TT-NN's in one search.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use bitnetc_compiler::explain::explain;
use bitnetc_compiler::policy::Policy;
use bitnetc_compiler::target::Target;
use bitnetc_compiler::{CompileError, Compiled, Options, compile, model};
use bitnetc_plan::{DType, Op, PhaseKind};

fn compiled(name: &str, target: &Target, change: impl FnOnce(&mut Options)) -> (Compiled, Options) {
    let model = model::find(name).unwrap().model().unwrap();
    let mut options = Options { prefill: vec![64], ..Options::for_model(&model) };
    change(&mut options);
    (compile(&model, target, &options).unwrap(), options)
}

/// Weights of two bits that a layer of each phase reads.
fn own(compiled: &Compiled) -> Vec<usize> {
    let layers = compiled.plan.phases.iter().map(|phase| &phase.layer);
    let read = |op: &Op| if let Op::TernaryGated(_) = op { 2 } else { usize::from(matches!(op, Op::TernaryLinear(_))) };
    layers.map(|layer| layer.iter().map(|step| read(&step.op)).sum()).collect()
}

fn copies(compiled: &Compiled, dtype: DType) -> usize {
    compiled.plan.weights.iter().filter(|weight| weight.per_layer && weight.spec.dtype == dtype).count()
}

#[test]
fn they_are_taken_where_they_are_faster_and_allowed() {
    let target = Target::find("n150").unwrap();
    let (without, _) = compiled("bitnet-2b-4t", &target, |_| {});
    assert_eq!((own(&without), copies(&without, DType::Bfp2)), (vec![0, 0], 0));
    let (with, options) = compiled("bitnet-2b-4t", &target, |o| o.own_kernels = true);
    assert_eq!(own(&with), [5, 0], "prefill of more than one tile of rows has TT-NN's");
    assert!(with.record[0].placed.price < without.record[0].placed.price);
    assert_eq!((copies(&with, DType::Bfp2), copies(&with, DType::Bfp4)), (5, 5));
    let found = explain(&with, &target, &options, PhaseKind::Decode { batch: 1 }, "down").unwrap();
    let storage = found.storage.unwrap();
    assert!(storage.starts_with("down.bfp2 as bfp2, 139 MB of DRAM"), "{storage}");
    assert!(storage.contains("read a copy: down as bfp4"), "{storage}");
    let mlp = with.plan.phases[0].layer.iter().find(|step| matches!(step.op, Op::TernaryGated(_))).unwrap();
    assert!(mlp.note.contains("bfp2 holds the same numbers"));
    let both = explain(&with, &target, &options, PhaseKind::Decode { batch: 1 }, &mlp.name).unwrap().storage.unwrap();
    assert!(both.contains("gate.bfp2 as bfp2") && both.contains("up.bfp2 as bfp2"), "{both}");
    let ttnn = |what: &str| found.alternatives.iter().any(|other| other.candidate.what.starts_with(what));
    assert!(ttnn("DRAM-sharded"), "TT-NN's way stands beside it");
}

#[test]
fn without_prefill_there_is_one_copy_and_a_short_prefill_reads_it_too() {
    let target = Target::find("p150").unwrap();
    let (decode, _) = compiled("tiny-shakespeare", &target, |o| (o.own_kernels, o.prefill) = (true, vec![]));
    assert_eq!(own(&decode)[0], copies(&decode, DType::Bfp2));
    assert_eq!(own(&decode)[0] + copies(&decode, DType::Bfp4), 5, "each projection has one weight");
    let overrides = ["qkv", "o", "gate", "up", "down"].map(|role| format!("{role}=bfp2").parse().unwrap());
    let (short, _) = compiled("tiny-shakespeare", &target, |o| (o.overrides, o.prefill) = (overrides.into(), vec![32]));
    assert_eq!((own(&short), copies(&short, DType::Bfp4)), (vec![5, 5], 0));
}

#[test]
fn where_dram_has_no_room_for_a_second_copy_there_is_none() {
    let mut target = Target::find("n150").unwrap();
    target.card.dram.banks = 3;
    let change = |o: &mut Options| (o.own_kernels, o.batch) = (true, 3);
    let (plan, options) = compiled("bitnet-2b-4t", &target, change);
    assert_eq!(own(&plan), [0, 0]);
    assert!(plan.declined.as_ref().unwrap().contains("DRAM"), "{:?}", plan.declined);
    let found = explain(&plan, &target, &options, PhaseKind::Decode { batch: 3 }, "down").unwrap();
    assert!(found.storage.unwrap().starts_with("not in two bits"));
    // Asked for by name they are no choice of the planner's.
    let model = model::find("bitnet-2b-4t").unwrap().model().unwrap();
    let overrides = ["qkv", "o", "gate", "up", "down"].map(|role| format!("{role}=bfp2").parse().unwrap());
    let asked = Options { overrides: overrides.into(), own_kernels: false, ..options };
    assert!(matches!(compile(&model, &target, &asked), Err(CompileError::Dram { .. })));
}

/// Quantised activations take one program where TT-NN's calls take three, and their sums are added to the residual stream in one instead of
/// two.
#[test]
fn exact_has_24_programs_a_layer_with_them() {
    let target = Target::find("n150").unwrap();
    let exact = |own_kernels| {
        let change = |o: &mut Options| {
            (o.policy, o.batch, o.prefill, o.own_kernels) = (Policy::Exact, 32, vec![], own_kernels);
        };
        let (compiled, _) = compiled("bitnet-2b-4t", &target, change);
        let programs = compiled.plan.phases[0].layer.iter().filter(|step| step.cost.us > 0.0).count();
        (compiled, programs)
    };
    let ((with, few), (without, many)) = (exact(true), exact(false));
    assert_eq!((few, many), (24, 34));
    let ops =
        |compiled: &Compiled, of: fn(&Op) -> bool| compiled.plan.phases[0].layer.iter().filter(|s| of(&s.op)).count();
    assert_eq!(ops(&with, |op| matches!(op, Op::QuantizeRows(_))), 4);
    assert_eq!(ops(&with, |op| matches!(op, Op::AddRows(_))), 2);
    assert_eq!(ops(&without, Op::has_own_kernels), 0);
    assert!(with.record[0].placed.price < without.record[0].placed.price);
}
