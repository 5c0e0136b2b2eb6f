//! The record behind a plan: no alternative beats what was chosen, and the whole record does not change the plan.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use bitnetc_compiler::explain::{ExplainError, Explanation, explain, explain_all};
use bitnetc_compiler::policy::Policy;
use bitnetc_compiler::target::Target;
use bitnetc_compiler::{Compiled, Options, compile, model};
use bitnetc_plan::PhaseKind;

fn compiled(target: &str, policy: Policy, everything: bool) -> (Compiled, Target, Options) {
    let model = model::find("tiny-shakespeare").unwrap().model().unwrap();
    let target = Target::find(target).unwrap();
    let options = Options { policy, batch: 8, prefill: vec![64], everything, ..Options::for_model(&model) };
    (compile(&model, &target, &options).unwrap(), target, options)
}

#[test]
fn no_alternative_makes_the_phase_shorter() {
    for (target, policy) in [("n150", Policy::Balanced), ("p150", Policy::Exact)] {
        let (compiled, target, options) = compiled(target, policy, false);
        for record in &compiled.record {
            let all = explain_all(&compiled, &target, &options, record.kind).unwrap();
            assert_eq!(all.len(), record.placed.record.len());
            for found in &all {
                let call = &found.call.name;
                assert_eq!(found.phase, record.placed.price, "{call}: the chosen way fixed is the plan");
                for alternative in &found.alternatives {
                    if let Ok(forced) = &alternative.verdict {
                        assert!(forced.price >= found.phase, "{} {call}: {}", record.kind, alternative.candidate.what);
                    }
                }
            }
            // What is remembered of the calls before changes no answer.
            for call in ["qkv", "down"] {
                let Some(same) = all.iter().find(|found| found.call.name == call) else { continue };
                let one = explain(&compiled, &target, &options, record.kind, call).unwrap();
                let verdicts = |of: &Explanation| of.alternatives.iter().map(|a| a.verdict.clone()).collect::<Vec<_>>();
                assert_eq!((verdicts(&one), one.calls), (verdicts(same), same.calls.clone()), "{} {call}", record.kind);
            }
        }
    }
}

#[test]
fn the_whole_record_belongs_to_the_same_plan() {
    for target in ["n150", "p150"] {
        let (short, ..) = compiled(target, Policy::Balanced, false);
        let (whole, ..) = compiled(target, Policy::Balanced, true);
        assert_eq!(short.plan, whole.plan);
        let ways = |c: &Compiled| c.record[0].placed.record.iter().map(|r| r.ways.candidates.len()).sum::<usize>();
        assert!(ways(&whole) > ways(&short));
    }
}

#[test]
fn steps_are_found_by_their_own_names_and_what_is_not_there_is_said() {
    let (compiled, target, options) = compiled("n150", Policy::Balanced, false);
    let decode = PhaseKind::Decode { batch: 8 };
    for (phase, step, call) in [
        (decode, "logits.0.tiles", "logits"),
        (decode, "rotary.cos.rows.lookup", "rotary.cos.rows"),
        (PhaseKind::Prefill { tokens: 64 }, "gate", "gate"),
    ] {
        let record = compiled.record.iter().find(|r| r.kind == phase).unwrap();
        let known = compiled.plan.phase(phase).unwrap().steps().any(|s| s.name == step);
        assert!(known, "{step}: {:?}", record.placed.record.iter().map(|r| &r.call.name).collect::<Vec<_>>());
        assert_eq!(explain(&compiled, &target, &options, phase, step).unwrap().call.name, call);
    }
    let error = explain(&compiled, &target, &options, decode, "downs").unwrap_err();
    assert!(error.to_string().contains("decode has no step `downs` (did you mean `down`?); there are "), "{error}");
    let other = PhaseKind::Prefill { tokens: 96 };
    assert!(matches!(explain(&compiled, &target, &options, other, "o"), Err(ExplainError::NoPhase(_))));
}

#[test]
fn a_reshard_says_what_it_costs_and_what_forces_it() {
    let (compiled, target, options) = compiled("n150", Policy::Balanced, false);
    let decode = PhaseKind::Decode { batch: 8 };
    let found = explain(&compiled, &target, &options, decode, "merged.in").unwrap();
    let [moved] = found.moves.as_slice() else { panic!("{:?}", found.moves) };
    let step = compiled.plan.phase(decode).unwrap().steps().find(|s| s.name == "merged.in").unwrap();
    assert_eq!((moved.value.as_str(), moved.cost, &moved.to), ("attended", step.cost, &step.outputs[0].spec.memory));
    assert_eq!((moved.readable, moved.maker.as_ref().unwrap().leaving), (0, 0));
    let refusal = moved.maker.as_ref().unwrap().refusal.as_ref().unwrap();
    assert!(refusal.what.contains("Sharded output not supported"), "{refusal:?}");
    assert!(found.moves.iter().all(|m| m.from != m.to));
}

#[test]
fn what_gets_slower_adds_up_to_the_difference() {
    let (compiled, target, options) = compiled("n150", Policy::Balanced, false);
    let found = explain(&compiled, &target, &options, PhaseKind::Decode { batch: 8 }, "down").unwrap();
    assert_eq!(found.calls.iter().map(|(_, price)| price.ns).sum::<u64>(), found.phase.ns);
    let dearer = found.alternatives.iter().filter(|a| a.regret(found.phase).is_some_and(|ns| ns > 0)).count();
    assert!(dearer > 0);
    for forced in found.alternatives.iter().filter_map(|a| a.verdict.as_ref().ok()) {
        assert_eq!(forced.calls.iter().map(|(_, price)| price.ns).sum::<u64>(), forced.price.ns);
    }
}

#[test]
fn a_kernels_own_errors_are_told() {
    let said = |policy, phase, step: &str| {
        let (compiled, target, options) = compiled("n150", policy, false);
        let found = explain(&compiled, &target, &options, phase, step).unwrap();
        found.remarks.into_iter().map(|(step, remark)| format!("{step}: {remark}")).collect::<Vec<_>>().join("\n")
    };
    let (decode, prefill) = (PhaseKind::Decode { batch: 8 }, PhaseKind::Prefill { tokens: 64 });
    assert!(said(Policy::Exact, prefill, "attended").contains("with fp32 sums TT-NN's exponentials are good to f32"));
    assert!(
        said(Policy::Balanced, prefill, "attended").contains("with bf16 sums TT-NN takes approximate exponentials")
    );
    assert!(said(Policy::Balanced, decode, "attn_norm").contains("in bf16, which makes results 0.05 % too small"));
    assert!(said(Policy::Exact, decode, "attn_norm.int8").contains("attn_norm.int8: the maximum is f32"));
    assert_eq!(said(Policy::Balanced, decode, "attended"), "");
    assert_eq!(said(Policy::Balanced, prefill, "attn_norm"), "");
}
