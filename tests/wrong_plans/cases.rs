//! Wrong plans one by one, with what is said of them. They are mistakes that were found to pass where phases are only compared by the
//! numbers and matrices they use.

use bitnetc_compiler::prove;
use bitnetc_plan::op::{Destination, Kept, Slice};
use bitnetc_plan::program::FusedActivation;
use bitnetc_plan::{Defect, MatmulProgram, Op, Phase, PhaseKind, Plan, Ref, Source, Step, Unary, verify, walk};

use crate::small;

fn steps(phase: &mut Phase) -> impl Iterator<Item = &mut Step> {
    phase.prologue.iter_mut().chain(&mut phase.layer).chain(&mut phase.epilogue)
}

fn step<'p>(phase: &'p mut Phase, name: &str) -> &'p mut Step {
    steps(phase).find(|s| s.name == name).unwrap_or_else(|| panic!("no step {name}"))
}

/// What verification and the model say of a plan with `change` in it. Every other invariant holds.
fn said(policy: usize, change: impl Fn(&mut Plan)) -> (Vec<Defect>, Vec<Defect>) {
    let model = small::model();
    let mut plan = small::plans(&model).swap_remove(policy);
    change(&mut plan);
    walk::settle(&mut plan).unwrap();
    let alone = verify(&plan).map(|_| ()).expect_err("verification says nothing");
    (alone, prove(&plan, &model).expect_err("the model says nothing"))
}

/// The place and the words with which a plan is refused when its model is known.
#[track_caller]
fn refused(policy: usize, change: impl Fn(&mut Plan), place: &str, words: &str) {
    let (alone, with_model) = said(policy, change);
    assert!(alone.iter().all(|d| d.invariant == bitnetc_plan::Invariant::Function), "{alone:#?}");
    let text: Vec<String> = with_model.iter().map(|d| format!("{d}; right: {}", d.hint)).collect();
    assert!(text.iter().any(|t| t.starts_with(place) && t.contains(words)), "{text:#?}");
}

const BALANCED: usize = 0;
const EXACT: usize = 1;

fn prefill(plan: &mut Plan) -> &mut Phase {
    plan.phases.iter_mut().find(|p| p.kind == PhaseKind::Prefill { tokens: 64 }).unwrap()
}

fn matmul<'p>(phase: &'p mut Phase, name: &str) -> &'p mut bitnetc_plan::op::Matmul {
    let Op::Matmul(args) = &mut step(phase, name).op else { panic!("{name} is no matmul") };
    args
}

fn activation<'p>(phase: &'p mut Phase, name: &str) -> &'p mut Option<FusedActivation> {
    let (MatmulProgram::DramSharded { activation, .. }
    | MatmulProgram::Multicast1D { activation, .. }
    | MatmulProgram::Multicast2D { activation, .. }) = &mut matmul(phase, name).program;
    activation
}

fn binary<'p>(phase: &'p mut Phase, name: &str) -> &'p mut bitnetc_plan::op::Binary {
    let Op::Binary(args) = &mut step(phase, name).op else { panic!("{name} is no sum or product") };
    args
}

fn filled(op: &mut Op) -> Option<&mut Ref> {
    if let Op::CacheFill(args) = op { Some(&mut args.cache) } else { None }
}

#[test]
fn gate_and_up_exchanged_in_decode() {
    let change = |plan: &mut Plan| {
        for (name, weight) in [("gate", "up"), ("up", "gate")] {
            matmul(&mut plan.phases[0], name).b = Ref::Weight(weight.into());
        }
    };
    refused(
        BALANCED,
        change,
        "decode, step `gate`: it computes relu(`model.layers.{layer}.mlp.up_proj.weight`",
        "`gate_act`, relu(`gate`)^2",
    );
    // Verification says which step it is, since it knows which phases are right.
    let (alone, _) = said(BALANCED, change);
    let [only] = alone.as_slice() else { panic!("{alone:#?}") };
    assert!(only.to_string().starts_with("decode, step `gate`") && only.hint.starts_with("prefill 32 has"), "{only:?}");
}

#[test]
fn keys_and_values_exchanged_in_prefill() {
    let change = |plan: &mut Plan| {
        let Op::Sdpa(args) = &mut step(prefill(plan), "attended").op else { panic!("no attention") };
        std::mem::swap(&mut args.k_cache, &mut args.v_cache);
    };
    let (alone, _) = said(BALANCED, change);
    assert!(alone.iter().any(|defect| defect.to_string().starts_with("prefill 64, step `attended`")), "{alone:#?}");
    // Either may be written into any cache, so that this is a wrong function and nothing else.
    let change = |plan: &mut Plan| {
        let mut caches: Vec<&mut Ref> = steps(prefill(plan)).filter_map(|step| filled(&mut step.op)).collect();
        let [k, v] = &mut caches[..] else { panic!("two caches are filled") };
        std::mem::swap(*k, *v);
    };
    refused(BALANCED, change, "prefill 64, step `attended`", "it computes `rope.k` by the scores of");
}

#[test]
fn a_relu_on_the_output_projection() {
    let change = |plan: &mut Plan| *activation(prefill(plan), "o") = Some(FusedActivation::Relu);
    refused(BALANCED, change, "prefill 64, step `o`: it computes relu(", "o_proj");
}

#[test]
fn pairs_of_keys_alone_in_another_order() {
    let change = |plan: &mut Plan| {
        let qkv = plan.weights.iter_mut().find(|w| w.name == "qkv").unwrap();
        let Source::Columns(matrices) = &mut qkv.source else { panic!("no columns") };
        matrices[0].rotated = 0;
    };
    refused(EXACT, change, "decode, step `rope`", "turned in pairs 16 apart");
}

#[test]
fn a_norm_of_the_stream_before_the_residual() {
    let change = |plan: &mut Plan| {
        let layer = &mut plan.phases[0].layer;
        let norm = layer.iter().position(|s| s.name == "ffn_norm").unwrap();
        let add = layer.iter().position(|s| s.name == "attn_out").unwrap();
        let step = layer.remove(norm);
        layer.insert(add, step);
    };
    refused(BALANCED, change, "decode, step `ffn_norm`", "right: the model has here `ffn_norm`");
}

#[test]
fn keys_that_are_not_turned() {
    let change = |plan: &mut Plan| {
        let phase = prefill(plan);
        let Op::Rotary(args) = step(phase, "rope.k").op.clone() else { panic!("no rotation") };
        phase
            .layer
            .retain(|s| s.name != "rope.k" && !matches!(&s.op, Op::Deallocate(free) if free.input == args.input));
        for operand in steps(phase).flat_map(|s| s.op.operands_mut()) {
            if *operand == Ref::Value("rope.k".into()) {
                operand.clone_from(&args.input);
            }
        }
    };
    refused(BALANCED, change, "prefill 64, step `attended`", "turned");
}

#[test]
fn a_sum_instead_of_a_product() {
    let change = |plan: &mut Plan| binary(&mut plan.phases[0], "product").kind = bitnetc_plan::op::BinaryKind::Add;
    refused(BALANCED, change, "decode, step `product`", " + ");
}

#[test]
fn a_quantisation_that_does_not_round() {
    let change = |plan: &mut Plan| {
        binary(&mut plan.phases[0], "attn_norm.int8").activations.retain(|f| *f != Unary::Round);
    };
    refused(EXACT, change, "decode, step `attn_norm.int8`", "clamp(");
    let change = |plan: &mut Plan| {
        binary(&mut plan.phases[0], "attn_norm.int8").activations = vec![Unary::Round, Unary::Clamp(-64.0, 127.0)];
    };
    refused(EXACT, change, "decode, step `attn_norm.int8`", "-6.4");
}

#[test]
fn a_gamma_of_another_norm_in_all_phases() {
    let change = |plan: &mut Plan| {
        let norm = plan.weights.iter_mut().find(|w| w.name == "attn_norm.gamma").unwrap();
        let Source::Vectors(vectors) = &mut norm.source else { panic!("no vector") };
        vectors[0].tensor = "model.layers.{layer}.post_attention_layernorm.weight".into();
    };
    refused(BALANCED, change, "decode, step `attn_norm`", "input_layernorm");
    let (alone, _) = said(BALANCED, change);
    assert!(alone[0].to_string().starts_with("plan: its phases compute the function"), "{alone:#?}");
}

#[test]
fn a_layer_more_or_less() {
    let (alone, with_model) = said(BALANCED, |plan| plan.model.layers = 1);
    assert!(alone[0].to_string().contains("its phases compute"), "{alone:#?}");
    assert!(with_model[0].to_string().contains("1 layers, the model has 2"), "{with_model:#?}");
}

#[test]
fn logits_of_tokens_from_the_end_of_the_tile() {
    let change = |plan: &mut Plan| {
        let Op::SliceAt(args) = &mut step(prefill(plan), "last").op else { panic!("no slice") };
        std::mem::swap(&mut args.starts, &mut args.ends);
    };
    let (alone, _) = said(BALANCED, change);
    assert!(alone.iter().any(|defect| defect.to_string().starts_with("prefill 64, step `last`")), "{alone:#?}");
    // Rows that are there, though not those of the last token.
    let change = |plan: &mut Plan| {
        let phase = prefill(plan);
        let last = step(phase, "last");
        let Op::SliceAt(args) = &last.op else { panic!("no slice") };
        let (input, memory) = (args.input.clone(), args.memory.clone());
        last.op = Slice { input, kept: Kept::Rows(32, 64), memory }.into();
        phase.trace.as_mut().unwrap().inputs.retain(|name| !name.starts_with("last_tile"));
    };
    refused(BALANCED, change, "prefill 64", "its logits are those of tokens of the prompt 32..64");
}

#[test]
fn another_precision_is_told_where_the_model_is_known() {
    let model = small::model();
    let mut plan = small::plans(&model).swap_remove(BALANCED);
    matmul(&mut plan.phases[0], "logits.0.tiles").compute.fidelity = bitnetc_plan::Fidelity::LoFi;
    walk::settle(&mut plan).unwrap();
    verify(&plan).unwrap();
    let defects = prove(&plan, &model).unwrap_err();
    assert_eq!(defects[0].to_string(), "decode, step `logits.0.tiles`: LoFi of bfp8", "{defects:#?}");
    assert_eq!(defects[0].hint, "HiFi2 of bfp8, as asked or proved");
}

#[test]
fn what_changes_nothing_is_sound() {
    let model = small::model();
    for plan in small::plans(&model) {
        // The residual stream's additions with their operands in another order, as a tensor of its own and copied back.
        let mut plan = plan;
        for phase in &mut plan.phases {
            for step in steps(phase) {
                step.note = "another note".into();
                if let Op::Binary(args) = &mut step.op
                    && matches!(args.into, Destination::New(_))
                    && args.a != args.b
                    && args.a_activations.is_empty()
                    && args.b_activations.is_empty()
                {
                    std::mem::swap(&mut args.a, &mut args.b);
                }
            }
        }
        walk::settle(&mut plan).unwrap();
        verify(&plan).unwrap();
        prove(&plan, &model).unwrap();
    }
}

/// A step that uses another buffer than its own, though of the same spec: keys for values, the positions of a prompt for its tokens.
#[test]
fn another_buffer_of_its_spec() {
    let mut tried = 0;
    for plan in small::plans(&small::model()) {
        for (phase, step) in
            (0..plan.phases.len()).flat_map(|p| (0..plan.phases[p].steps().count()).map(move |s| (p, s)))
        {
            let operands = plan.phases[phase].steps().nth(step).unwrap().op.operands();
            let used = operands.into_iter().enumerate().filter(|(_, r)| matches!(r, Ref::Buffer(_)));
            for (operand, own) in used.map(|(at, r)| (at, plan.buffer(r.name()).unwrap())) {
                for other in plan.buffers.iter().filter(|b| b.spec == own.spec && b.name != own.name) {
                    let mut wrong = plan.clone();
                    let changed = steps(&mut wrong.phases[phase]).nth(step).unwrap();
                    *changed.op.operands_mut()[operand] = Ref::Buffer(other.name.clone());
                    let place = changed.name.clone();
                    assert!(verify(&wrong).is_err(), "{place}: {} instead of {}", other.name, own.name);
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 40, "{tried}");
}
