//! Widths that are no whole tiles: the plan computes what the f32 reference computes, its padding is zeros, and a plan in which it could
//! count is refused.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

#[path = "common/reference.rs"]
mod reference;
#[path = "common/widths.rs"]
mod widths;

use std::path::Path;

use bitnetc_compiler::model::{Model, import};
use bitnetc_compiler::policy::Policy;
use bitnetc_compiler::target::{NAMES, Target};
use bitnetc_compiler::{Options, compile};
use bitnetc_plan::op::Role;
use bitnetc_plan::walk::settle;
use bitnetc_plan::{Invariant, Op, Padding, Phase, Plan, Ref, Source, Step, Unary, VerifiedPlan, format, verify};
use proptest::prelude::*;
use reference::distances;
use widths::{PADDED, Widths};

fn any_widths() -> impl Strategy<Value = Widths> {
    let heads = prop::sample::select(vec![(1_usize, 1_usize), (2, 1), (3, 3), (4, 2), (5, 1)]);
    let any = any::<[bool; 2]>();
    (2_usize..300, 2_usize..400, heads, 1_usize..66, 61_usize..300, any).prop_map(
        |(hidden, ffn, (heads, kv_heads), pairs, vocab, [sub_norms, silu])| {
            let head_dim = 2 * pairs;
            Widths { hidden, ffn, heads, kv_heads, head_dim, vocab, sub_norms, silu }
        },
    )
}

fn plan(widths: &Widths, policy: Policy, target: &str) -> (Model, VerifiedPlan) {
    let text = widths.text(policy == Policy::Exact);
    let model = Model::parse("widths", &text).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
    let mut options = Options::for_model(&model);
    (options.policy, options.prefill) = (policy, vec![32]);
    let compiled = compile(&model, &Target::find(target).unwrap(), &options);
    (model, compiled.unwrap_or_else(|error| panic!("{policy} on {target}, {widths:?}: {error}")).plan)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_widths_compute_what_the_reference_computes(widths in any_widths(), policy in 0..3_usize, target in 0..NAMES.len()) {
        let policy = Policy::ALL[policy];
        let (model, plan) = plan(&widths, policy, NAMES[target]);
        let text = format::to_ron(&plan).unwrap();
        prop_assert_eq!(&format::read_bytes(text.as_bytes()).unwrap(), &*plan);
        let distances = distances(&model, plan);
        prop_assert!(distances.iter().all(|d| *d < 0.1), "{:?} under {}: {:?}", distances, policy, widths);
    }
}

/// More heads than a tile has rows, and on a Wormhole card more than it has cores.
#[test]
fn more_than_32_heads_compute_what_the_reference_computes() {
    for ((heads, kv_heads), policy, target) in [
        ((40, 10), Policy::Balanced, "n150"),
        ((40, 10), Policy::Exact, "p150"),
        ((64, 8), Policy::Fast, "p100"),
        ((71, 1), Policy::Exact, "n150"),
    ] {
        let widths = Widths { heads, kv_heads, head_dim: 32, ..PADDED };
        let (model, plan) = plan(&widths, policy, target);
        let distances = distances(&model, plan);
        assert!(distances.iter().all(|d| *d < 0.1), "{distances:?} under {policy} on {target}: {widths:?}");
    }
}

#[test]
fn a_plan_says_which_columns_are_padding() {
    let (_, plan) = plan(&PADDED, Policy::Balanced, "n150");
    let padding = |name: &str| {
        let values = plan.phases[0].steps().flat_map(|s| &s.outputs);
        values.into_iter().find(|v| v.name == name).unwrap().padding
    };
    let row = |from, to| Some(Padding { groups: 1, from, to });
    assert_eq!(padding("gate"), row(210, 224));
    assert_eq!(padding("embedded"), row(130, 160));
    assert_eq!(padding("qkv"), Some(Padding { groups: 8, from: 80, to: 96 }));
    assert_eq!(padding("merged"), Some(Padding { groups: 4, from: 80, to: 96 }));
    assert_eq!(padding("logits"), None);
    let text = format::to_ron(&plan).unwrap();
    assert!(text.contains("groups: 4,") && text.contains("from: 210,"), "{text}");
}

/// The invariants that a change breaks.
fn broken(change: impl FnOnce(&mut Plan)) -> Vec<Invariant> {
    let (_, plan) = plan(&PADDED, Policy::Exact, "n150");
    let mut plan = plan.into_plan();
    change(&mut plan);
    // A plan whose padding is declared as it comes out is no better.
    let _ = settle(&mut plan);
    let Err(defects) = verify(&plan) else { return Vec::new() };
    defects.into_iter().map(|d| d.invariant).collect()
}

fn source<'a>(plan: &'a mut Plan, name: &str) -> &'a mut Source {
    let found = plan.weights.iter_mut().find(|w| w.name == name);
    &mut found.unwrap_or_else(|| panic!("no weight {name}")).source
}

fn op<'a>(plan: &'a mut Plan, name: &str) -> &'a mut Op {
    let phase = &mut plan.phases[0];
    let mut steps = phase.prologue.iter_mut().chain(&mut phase.layer).chain(&mut phase.epilogue);
    &mut steps.find(|s| s.name == name).unwrap_or_else(|| panic!("no step {name}")).op
}

fn padded_alike(plan: &mut Plan, name: &str, padding: Padding) {
    let Source::Columns(matrices) = source(plan, name) else { panic!("{name} is no matrix") };
    matrices.iter_mut().for_each(|m| m.outputs = Some(padding));
}

#[test]
fn padding_that_could_count_is_refused() {
    assert_eq!(broken(|_| {}), []);
    // As many columns, but the zeros are elsewhere.
    let elsewhere = Padding { groups: 2, from: 105, to: 112 };
    assert_eq!(broken(|p| padded_alike(p, "gate", elsewhere))[0], Invariant::Padding);
    let both = |p: &mut Plan| ["gate", "up"].iter().for_each(|name| padded_alike(p, name, elsewhere));
    assert_eq!(broken(both)[0], Invariant::Padding);
    // The projection after them reads zeros where there are numbers.
    let rows = |p: &mut Plan| {
        let Source::Columns(matrices) = source(p, "down") else { panic!() };
        matrices[0].inputs = Some(elsewhere);
    };
    assert_eq!(broken(rows), [Invariant::Padding; 2]);
    // Factors in the wrong columns, and factors that do not make up for the zeros.
    let columns = |p: &mut Plan| {
        let Source::Vectors(parts) = source(p, "ffn_sub_norm.gamma") else { panic!() };
        parts[0].padding = Some(elsewhere);
    };
    assert!(broken(columns).contains(&Invariant::Padding));
    let factor = |p: &mut Plan| {
        let Source::Vectors(parts) = source(p, "attn_sub_norm.gamma") else { panic!() };
        parts[0].factor = 1.0;
    };
    assert!(broken(factor).contains(&Invariant::Padding));
    // A function that is not 0 at 0.
    let filled = |p: &mut Plan| {
        let Op::Binary(product) = op(p, "product") else { panic!() };
        product.activations = vec![Unary::MaxScalar(0.5.into())];
    };
    assert!(broken(filled).contains(&Invariant::Padding));
    // The largest of numbers below 0 is the 0 of the padding.
    let maximum = |p: &mut Plan| {
        let Op::Binary(abs) = op(p, "ffn_sub_norm.int8.abs") else { panic!() };
        assert_eq!(abs.activations.remove(0), Unary::Abs);
    };
    assert!(broken(maximum).contains(&Invariant::Padding));
    // A declaration alone.
    let (_, plan) = plan(&PADDED, Policy::Balanced, "n150");
    let mut plan = plan.into_plan();
    let value = plan.phases[1].layer.iter_mut().flat_map(|s| &mut s.outputs).find(|v| v.padding.is_some()).unwrap();
    value.padding = None;
    let defects = verify(&plan).unwrap_err();
    assert_eq!(defects.iter().map(|d| d.invariant).collect::<Vec<_>>(), [Invariant::Padding]);
}

/// Vocabularies of models and others, even and odd.
const VOCABULARIES: [usize; 7] = [1021, 32_002, 50_257, 100_003, 128_257, 151_936, 262_144];

#[test]
fn any_vocabulary_has_a_plan_under_every_policy_on_every_card() {
    for (at, vocab) in VOCABULARIES.into_iter().enumerate() {
        for (target, policy) in NAMES.into_iter().flat_map(|target| Policy::ALL.map(|policy| (target, policy))) {
            // Each vocabulary with another hidden width.
            let widths = Widths { vocab, hidden: [1024, 2560, 3200, 4096][at % 4], ..PADDED };
            let (_, plan) = plan(&widths, policy, target);
            for phase in &plan.phases {
                let Some(Op::ArgMax(pick)) =
                    phase.epilogue.iter().map(|s| &s.op).find(|op| matches!(op, Op::ArgMax(_)))
                else {
                    panic!("{policy} on {target}, {vocab}: no token is picked");
                };
                let logits = phase.steps().flat_map(|s| &s.outputs).find(|v| v.name == pick.input.name()).unwrap();
                assert_eq!((logits.spec.columns() as usize, logits.padding), (vocab, None), "{policy} on {target}");
                assert_eq!(phase.results, std::slice::from_ref(&logits.name));
            }
        }
    }
}

/// An LM head in chunks, the last of which is padded, with sums in fp32.
const CHUNKED: Widths = Widths { vocab: 100_003, hidden: 64, ffn: 96, ..PADDED };

#[test]
fn logits_of_an_odd_vocabulary_are_the_references() {
    let (model, plan) = plan(&CHUNKED, Policy::Exact, "n150");
    assert!(plan.phases.iter().all(|phase| phase.epilogue.iter().any(|step| step.name == "logits.cut")));
    let far = distances(&model, plan);
    assert!(far.iter().all(|d| *d < 0.05), "{far:?}");
}

/// Zeros that no token stands for would win over logits below 0.
#[test]
fn tokens_picked_of_padded_logits_are_refused() {
    let (_, plan) = plan(&CHUNKED, Policy::Exact, "n150");
    let mut plan = plan.into_plan();
    for phase in &mut plan.phases {
        let padded = phase.epilogue.iter().flat_map(|s| &s.outputs).find(|v| v.name == "logits.padded").unwrap();
        assert_eq!(padded.padding, Some(Padding { groups: 1, from: 100_003, to: 100_032 }));
        let pick =
            phase.epilogue.iter_mut().find_map(|s| if let Op::ArgMax(pick) = &mut s.op { Some(pick) } else { None });
        pick.unwrap().input = Ref::Value("logits.padded".into());
        let freed = |s: &Step| s.op.freed().is_some_and(|r| r.name() == "logits.padded");
        let at = phase.epilogue.iter().position(freed).unwrap();
        let free = phase.epilogue.remove(at);
        phase.epilogue.push(free);
    }
    let defects = verify(&plan).unwrap_err();
    assert!(defects.iter().any(|d| d.invariant == Invariant::Padding), "{defects:?}");
}

/// Decode would take two chunks of an LM head in bf16, which a prefill has no room for.
#[test]
fn decode_takes_chunks_that_a_prefill_has_room_for() {
    let model = bitnetc_compiler::model::find("bitnet-2b-4t").unwrap().model().unwrap();
    for batch in [1, 8, 32] {
        let mut options = Options::for_model(&model);
        (options.batch, options.prefill) = (batch, vec![128]);
        options.overrides = vec!["lm_head=bf16/HiFi2".parse().unwrap()];
        let plan = compile(&model, &Target::find("p150").unwrap(), &options).unwrap().plan;
        let heads = |phase: &Phase| {
            let steps = phase.epilogue.iter().filter_map(|s| s.op.operand(Role::Matrix));
            steps.map(|weight| weight.name().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(heads(&plan.phases[0]), heads(&plan.phases[1]));
    }
}

/// A refusal names the constraint, and says whose it is.
#[test]
fn a_call_without_a_way_names_the_constraint_that_is_in_the_way() {
    let widths = Widths { heads: 40, kv_heads: 40, head_dim: 32, ..PADDED };
    let model = Model::parse("widths", &widths.text(false)).unwrap();
    let options = Options { prefill: vec![], ..Options::for_model(&model) };
    let error = compile(&model, &Target::find("n150").unwrap(), &options).unwrap_err().to_string();
    assert!(error.contains("`split_heads`") && error.contains("create_heads_decode.most_kv_heads"), "{error}");
    assert!(error.contains("ways, interleaved ones too"), "{error}");
}

/// 5460 columns between gate and down, as in 1bitLLM/bitnet_b1_58-xl.
#[test]
fn an_ffn_of_5460_has_a_plan_under_every_policy_on_every_card() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints/ffn-5460");
    let model = import::directory(&folder).unwrap().model;
    for target in NAMES {
        for policy in Policy::ALL {
            let mut options = Options::for_model(&model);
            (options.policy, options.prefill) = (policy, vec![128]);
            let compiled = compile(&model, &Target::find(target).unwrap(), &options);
            let plan = compiled.unwrap_or_else(|error| panic!("{policy} on {target}: {error}")).plan;
            for phase in &plan.phases {
                let down = phase.layer.iter().flat_map(|s| &s.outputs).find(|v| v.name == "ffn_sub_norm").unwrap();
                assert_eq!(down.padding, Some(Padding { groups: 1, from: 5460, to: 5472 }));
            }
        }
    }
}
