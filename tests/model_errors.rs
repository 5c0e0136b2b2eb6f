//! What a person sees when a model file is wrong: every mistake at once, each with its place, what was found and what would be right.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use bitnetc_compiler::model::{ErrorKind, Model, ModelErrors, find, shipped};
use miette::{GraphicalReportHandler, GraphicalTheme};
use proptest::prelude::*;

fn text() -> String {
    find("tiny-shakespeare").unwrap().text.to_string()
}

/// The shipped small model with some of its text replaced; each replacement must apply exactly once.
fn broken(edits: &[(&str, &str)]) -> ModelErrors {
    let mut model = text();
    for (from, to) in edits {
        assert_eq!(model.matches(from).count(), 1, "{from}");
        model = model.replace(from, to);
    }
    Model::parse("model.ron", &model).expect_err("the edits are mistakes")
}

fn report(errors: &ModelErrors) -> String {
    let mut out = String::new();
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::none()).with_width(140).with_links(false);
    handler.render_report(&mut out, errors).unwrap();
    // The underlining needs trailing spaces; snapshots should not depend on them.
    out.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

fn kinds(errors: &ModelErrors) -> Vec<ErrorKind> {
    errors.errors.iter().map(|e| e.kind).collect()
}

#[test]
fn every_shipped_model_is_sound() {
    for shipped in shipped() {
        let model = shipped.model().unwrap_or_else(|errors| panic!("{}", report(&errors)));
        for phase in
            [bitnetc_compiler::graph::Phase::Decode { batch: 32 }, bitnetc_compiler::graph::Phase::Prefill { seq: 128 }]
        {
            let graph = model.to_graph(phase, 256).unwrap();
            assert_eq!(graph.check(), Ok(()), "{}", shipped.name);
        }
    }
}

/// Published sizes, in millions, from the model cards.
#[test]
fn parameter_counts_equal_the_published_ones() {
    let published = [
        ("bitnet-2b-4t", 2412.8),
        ("tiny-shakespeare", 18.7),
        ("bitnet-large", 728.8),
        ("bitnet-3b", 3324.4),
        ("llama3-8b-1.58", 8030.3),
        ("falcon3-1b", 1669.4),
        ("falcon3-3b", 3227.7),
        ("falcon3-7b", 7455.6),
        ("falcon3-10b", 10305.7),
        ("llama-3.2-1b", 1235.8),
        ("llama-3.1-8b", 8030.3),
        ("phi-3-mini-128k", 3821.1),
    ];
    for (name, millions) in published {
        let found = find(name).unwrap().model().unwrap().parameters() as f64 / 1e6;
        assert!((found - millions).abs() < 0.06, "{name}: {found}");
    }
}

#[test]
fn unknown_and_missing_fields() {
    let errors = broken(&[
        ("    dims: {", "    vocabulary: 3,\n    dims: {"),
        ("role: Gate)", "rolle: Gate)"),
        ("times: \"layers\", ", "times: \"layers\", twice: true, "),
    ]);
    insta::assert_snapshot!(report(&errors));
}

#[test]
fn undefined_and_unused_values() {
    let errors = broken(&[
        ("Add(from: [\"x\", \"o\"]", "Add(from: [\"x\", \"oo\"]"),
        ("\"ffn\": 1728,", "\"ffn\": 1728,\n        \"experts\": 8,"),
        ("LastToken(from: \"decoded\"", "LastToken(from: \"attn_out\""),
    ]);
    insta::assert_snapshot!(report(&errors));
}

#[test]
fn shapes_that_do_not_fit() {
    let errors = broken(&[
        (
            "mlp.down_proj.weight\", shape: [\"hidden\", \"ffn\"]",
            "mlp.down_proj.weight\", shape: [\"hidden\", \"hidden\"]",
        ),
        (
            "attn_sub_norm.weight\", shape: [\"heads*head_dim\"]",
            "attn_sub_norm.weight\", shape: [\"kv_heads*head_dim\"]",
        ),
        ("Rope(from: [\"q_heads\", \"k_heads\"]", "Rope(from: [\"q_heads\", \"k\"]"),
    ]);
    insta::assert_snapshot!(report(&errors));
}

#[test]
fn dimensions_that_do_not_divide() {
    let errors = broken(&[
        ("\"kv_heads\": 5,", "\"kv_heads\": 3,"),
        ("\"ffn\": 1728,", "\"ffn\": 1729,"),
        ("\"head_dim\": 32,", "\"head_dim\": 33,"),
    ]);
    insta::assert_snapshot!(report(&errors));
}

#[test]
fn duplicates() {
    let errors = broken(&[
        ("to: \"up\"", "to: \"gate\""),
        ("mlp.up_proj", "mlp.gate_proj"),
        ("\"vocab\": 1024,", "\"vocab\": 1024,\n        \"vocab\": 1024,"),
        (
            "Argmax(from: \"logits\", to: \"next\"),",
            "Argmax(from: \"logits\", to: \"next\"),\n            Argmax(from: \"logits\", to: \"again\"),",
        ),
    ]);
    insta::assert_snapshot!(report(&errors));
}

#[test]
fn values_of_another_kind_and_names_that_do_not_exist() {
    let errors = broken(&[
        ("Relu2(from: \"gate\"", "Gelu(from: \"gate\""),
        ("theta: 500000.0", "theta: \"500000\""),
        ("\"layers\": 4,", "\"layers\": 4.5,"),
        ("Packed(Multiplies)", "Packed(Adds)"),
        ("model.norm.weight", "model.layers.{layer}.norm.weight"),
        ("shape: [\"vocab\", \"hidden\"], role: LmHead", "shape: [\"vocab\", \"hiden\"], role: LmHead"),
    ]);
    insta::assert_snapshot!(report(&errors));
}

#[test]
fn text_that_is_no_ron() {
    let errors = broken(&[("Relu2(from: \"gate\", to: \"gate_act\"),", "Relu2(from: \"gate\" to: \"gate_act\"),")]);
    insta::assert_snapshot!(report(&errors));
    assert_eq!(kinds(&errors), [ErrorKind::Syntax]);
}

#[test]
fn blocks_out_of_order() {
    let errors = broken(&[("Repeat(name: \"decoder\"", "Once(name: \"decoder\"")]);
    assert_eq!(kinds(&errors), [ErrorKind::Structure]);
    let errors = broken(&[("            Argmax(from: \"logits\", to: \"next\"),\n", "")]);
    assert_eq!(kinds(&errors), [ErrorKind::Unused]);
}

#[test]
fn places_are_right_whatever_stands_before_them() {
    let text = text()
        .replace("name: \"tiny-shakespeare\"", "/* ü /* nested */ */ name: \"tiny-shakespeare\" // name: \"é\"\n   ");
    let text = text.replace("role: Gate)", "/* role: */ role: Gatte)");
    let errors = Model::parse("m", &text).unwrap_err();
    let [error] = &errors.errors[..] else { panic!("{}", errors.listing()) };
    assert_eq!(&text[error.span.clone()], "Gatte");
    let line = text.lines().nth(error.line - 1).unwrap();
    assert!(line.chars().skip(error.column - 1).collect::<String>().starts_with("Gatte"));
}

/// Pieces that mutations put into a model.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("(".to_string()),
        Just(")".to_string()),
        Just("[".to_string()),
        Just("]".to_string()),
        Just("{".to_string()),
        Just("\"".to_string()),
        Just(",".to_string()),
        Just("/*".to_string()),
        Just("//".to_string()),
        Just("r#\"".to_string()),
        Just("-1".to_string()),
        Just("1e999".to_string()),
        Just("99999999999999999999999".to_string()),
        Just("\"heads*heads*heads*heads*heads*heads*vocab*vocab*vocab\"".to_string()),
        Just("#![enable(implicit_some, unwrap_newtypes)]".to_string()),
        Just("Some(".to_string()),
        Just("é\u{0}".to_string()),
        Just("None".to_string()),
        "\\PC{0,12}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Any text gives a model or mistakes with places inside it, never a panic.
    #[test]
    fn mutated_models_never_panic(edits in prop::collection::vec((any::<prop::sample::Index>(), 0..40_usize, piece()), 1..5)) {
        let mut text: Vec<char> = text().chars().collect();
        for (at, remove, piece) in edits {
            let at = at.index(text.len());
            let end = (at + remove).min(text.len());
            text.splice(at..end, piece.chars());
        }
        let text: String = text.into_iter().collect();
        match Model::parse("m", &text) {
            Ok(model) => {
                if model.context <= 1 << 20 {
                    model.to_graph(bitnetc_compiler::graph::Phase::Decode { batch: 1 }, model.context).unwrap();
                }
            }
            Err(errors) => {
                prop_assert!(!errors.errors.is_empty());
                for error in &errors.errors {
                    prop_assert!(text.get(error.span.clone()).is_some(), "{:?}", error);
                }
                report(&errors);
            }
        }
    }

    /// Swapping two words of the file keeps it RON; the mistakes are then the model's.
    #[test]
    fn exchanged_words_never_panic(a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>()) {
        let text = text();
        let mut words: Vec<&str> = text.split_inclusive(|c: char| !c.is_alphanumeric()).collect();
        let (a, b) = (a.index(words.len()), b.index(words.len()));
        words.swap(a, b);
        let text = words.concat();
        if let Err(errors) = Model::parse("m", &text) {
            report(&errors);
        }
    }
}
