//! Tests of the graph's helpers and invariants.

use super::*;

fn small() -> Graph {
    let mut g = Graph::new("m", PhaseKind::Decode { batch: 2 }, 3, 32);
    let table = WeightRef { name: "e".into(), rows: None, shape: vec![10, 4], encoding: Encoding::Dense };
    let tokens = g.add("tokens", Section::Prologue, Role::Data, Operation::Tokens, &[]).unwrap();
    let embed = g
        .add(
            "embed",
            Section::Prologue,
            Role::Embedding,
            Operation::Embedding { weight: table.clone() },
            &[tokens.into()],
        )
        .unwrap();
    let x = g.add("x", Section::Layer, Role::Data, Operation::Carry, &[embed.into()]).unwrap();
    let norm = Operation::RmsNorm { gamma: None, scale: Scalar::ONE, eps: Scalar::number(1e-5) };
    let h = g.add("norm", Section::Layer, Role::Norm, norm, &[x.into()]).unwrap();
    let y = g
        .add("sum", Section::Layer, Role::Residual, Operation::Add { b_scale: Scalar::ONE }, &[x.into(), h.into()])
        .unwrap();
    let head = Part { weight: table, scale: Scalar::ONE };
    let head = Operation::Linear(Linear { parts: vec![head], activations: ActivationQuant::None, unary: None });
    let logits = g.add("head", Section::Epilogue, Role::LmHead, head, &[y.into()]).unwrap();
    let next = g.add("next", Section::Epilogue, Role::Data, Operation::Argmax, &[logits.into()]).unwrap();
    g.set_carried(y.into());
    g.set_result(next.into());
    g
}

#[test]
fn a_sound_graph_passes_and_reads_well() {
    let g = small();
    assert_eq!(g.check(), Ok(()));
    let text = g.to_string();
    assert!(text.contains("sum              = add(x, norm)"), "{text}");
}

#[test]
fn users_inputs_and_last_use_agree() {
    let g = small();
    let x: Value = g.find("x").unwrap().into();
    let order = g.order(Section::Layer);
    assert_eq!(g.users(x).len(), 2);
    assert_eq!(g.last_use(x, &order), g.find("sum"));
    assert_eq!(g.inputs(g.find("sum").unwrap())[0], x);
    assert_eq!(g.only_user(g.carried().unwrap()), None);
}

#[test]
fn each_broken_invariant_is_named() {
    let mut g = small();
    let sum = g.find("sum").unwrap();
    g.redirect(Use { node: g.find("head").unwrap(), input: 0 }, g.find("x").unwrap().into());
    assert!(matches!(g.check().unwrap_err()[..], [GraphError::CrossSection { .. }]));
    let mut g = small();
    g.node_mut(sum).name = "x".into();
    assert_eq!(g.check(), Err(vec![GraphError::DuplicateName("x".into())]));
    let mut g = small();
    g.remove(sum);
    let errors = g.check().unwrap_err();
    assert!(errors.iter().any(|e| matches!(e, GraphError::Ends(_))), "{errors:?}");
    let mut g = small();
    g.node_mut(sum).outputs[0].rows = 1;
    assert!(g.check().unwrap_err().contains(&GraphError::StaleType("sum".into())));
}

#[test]
fn an_operation_refuses_what_does_not_fit_and_says_what_would() {
    let mut g = small();
    let x: Value = g.find("x").unwrap().into();
    let split = Operation::SplitHeads { heads: 2, kv_heads: 1, head_dim: 2 };
    let error = g.add("split", Section::Layer, Role::Data, split, &[x]).unwrap_err();
    assert_eq!(error.to_string(), "q, k and v side by side do not split into the heads: found 4, expected 8");
}
