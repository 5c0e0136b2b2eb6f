//! The errors of a wrong model file: every mistake is shown at once, each with its place, the finding and the correction.

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
        for phase in [bitnetc_plan::PhaseKind::Decode { batch: 32 }, bitnetc_plan::PhaseKind::Prefill { tokens: 128 }] {
            let graph = model.to_graph(phase, 256).unwrap();
            assert_eq!(graph.check(), Ok(()), "{}", shipped.name);
        }
    }
}

/// miette pads up to a mistake's column and cannot pad more than 65,535.
#[test]
fn a_mistake_at_the_end_of_a_line_of_any_length_is_shown() {
    for length in [10, 1_000, 33_000, 70_000, 400_000] {
        for filler in ["/*", "\t", "语", "x", "\"", "(", "é\u{301}"] {
            for text in [filler.repeat(length), format!("Model(name: {}", filler.repeat(length))] {
                let errors = Model::parse("long.ron", &text).unwrap_err();
                assert!(report(&errors).len() < 100_000, "{length} times {filler:?}");
            }
        }
    }
    // The whole file in one line, without the comments that would swallow it.
    let line: String = text().lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let spread = line.replacen("dims: {", &format!("dims: {{{}", " ".repeat(100_000)), 1);
    let errors = Model::parse("m.ron", &spread.replace("Argmax(", "Argmix(")).unwrap_err();
    assert!(report(&errors).contains("Argmix"));
}

#[test]
fn ten_thousand_mistakes_are_found_at_once_and_a_hundred_shown() {
    let dims: String = (0..10_000).map(|n| format!("\"unused_{n}\": {n}, ")).collect();
    let wrong: String = (0..10_000).map(|n| format!("Add(from: [\"no_{n}\", \"x\"], to: \"y\"), ")).collect();
    let fields: String = (0..10_000).map(|n| format!("field_{n}: 1, ")).collect();
    let head = "ops: [";
    for model in [
        text().replacen("dims: {", &format!("dims: {{ {dims}"), 1),
        text().replacen(head, &format!("{head} {wrong}"), 1),
        text().replacen("Model(", &format!("Model({fields}"), 1),
        text().replacen("Model(", &format!("Model({}", fields.replace(", ", ",\n")), 1),
    ] {
        let started = std::time::Instant::now();
        let errors = Model::parse("m.ron", &model).unwrap_err();
        let shown = report(&errors);
        assert!(errors.errors.len() >= 9_999, "{}", errors.errors.len());
        assert!(errors.to_string().ends_with("mistakes, of which the first 100 are shown"), "{errors}");
        assert_eq!(shown.matches("m.ron:").count(), 101);
        // A second where the build is optimised; an unoptimised one takes as long as ten.
        assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    }
}

/// Published sizes, in millions, from the model cards.
#[test]
fn parameter_counts_equal_the_published_ones() {
    let published = [
        ("bitnet-2b-4t", 2412.8),
        ("tiny-shakespeare", 18.7),
        ("bitnet-large", 728.8),
        ("bitnet-xl", 1273.6),
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

/// Edits of the small model that keep every operation sound, and for each mistake the text it points at and what is said of it.
#[test]
fn what_no_plan_can_be_made_of_is_refused_in_its_place() {
    type Case = (&'static [(&'static str, &'static str)], &'static [(&'static str, &'static str)]);
    const TO_DECODED: &str = "Add(from: [\"attn_out\", \"down\"], to: \"decoded\"),";
    let cases: [Case; 21] = [
        (&[("\"layers\": 4,", "\"layers\": 1000000,")], &[("\"layers\"", "1 to 16384 layers")]),
        (
            &[("[\"attn_out\", \"down\"]", "[\"x\", \"down\"]")],
            &[("Add", "expected the residual stream, here `attn_out`,")],
        ),
        (
            &[(
                TO_DECODED,
                "Mul(from: [\"down\", \"x\"], to: \"e\"), Add(from: [\"attn_out\", \"e\"], to: \"decoded\"),",
            )],
            &[("\"x\"", "found `x`, which `attn_out` was added into")],
        ),
        (
            &[
                ("[\"x\", \"o\"]", "[\"x\", \"x\"]"),
                ("Add(from: [\"attn_out\", \"down\"]", "Add(from: [\"attn_out\", \"e\"]"),
                ("to: \"down\"", "to: \"d\""),
                (", role: Down),", ", role: Down), Mul(from: [\"d\", \"o\"], to: \"e\"),"),
            ],
            &[("Add", "the residual stream added to itself")],
        ),
        (
            &[(
                TO_DECODED,
                "Add(from: [\"attn_out\", \"down\"], to: \"y\"), Mul(from: [\"y\", \"down\"], to: \"decoded\"),",
            )],
            &[("\"decoded\"", "expected the residual stream, `y`")],
        ),
        (
            &[(
                "LastToken(from: \"decoded\", to: \"last\"),",
                "LastToken(from: \"decoded\", to: \"l\"), Add(from: [\"l\", \"l\"], to: \"last\"),",
            )],
            &[("Add", "an addition outside the layer")],
        ),
        (
            &[(
                "Attention(from: [\"q_rotated\", \"k_cache\", \"v_cache\"]",
                "Attention(from: [\"q_rotated\", \"v_cache\", \"k_cache\"]",
            )],
            &[("\"v_cache\"", "attention reads a cache of keys here")],
        ),
        (
            &[("CacheUpdate(from: [\"k_rotated\", \"v_heads\"]", "CacheUpdate(from: [\"k_rotated\", \"k_heads\"]")],
            &[("\"v_heads\"", "unused value"), ("\"k_heads\"", "values are needed")],
        ),
        (
            &[("MergeHeads(from: \"attended\"", "MergeHeads(from: \"q_rotated\"")],
            &[("\"attended\"", "unused value"), ("\"q_rotated\"", "attended heads are needed")],
        ),
        (
            &[(
                "\"lm_head.weight\", shape: [\"vocab\", \"hidden\"]",
                "\"model.embed_tokens.weight\", shape: [\"hidden\", \"hidden\"]",
            )],
            &[
                ("\"model.embed_tokens.weight\"", "one tensor with two shapes"),
                ("\"logits\"", "expected 1024, the rows of the embedding"),
            ],
        ),
        (&[("role: Up)", "role: Gate)")], &[("BitLinear", "a second Gate, after `gate`")]),
        (&[("Once(name: \"head\"", "Once(name: \"embed\"")], &[("\"embed\"", "a second block `embed`")]),
        (
            &[
                ("LastToken(from: \"decoded\", to: \"last\"),", ""),
                ("RmsNorm(from: \"last\"", "RmsNorm(from: \"decoded\""),
            ],
            &[("Model", "no LastToken in this model")],
        ),
        (
            &[
                ("LastToken(from: \"decoded\", to: \"last\"),", ""),
                ("RmsNorm(from: \"last\"", "RmsNorm(from: \"decoded\""),
                ("Argmax(from: \"logits\"", "LastToken(from: \"logits\", to: \"last\"), Argmax(from: \"last\""),
            ],
            &[("\"normed\"", "the LM head reads one token"), ("\"last\"", "Argmax reads logits")],
        ),
        (
            &[(
                "to: [\"q_rotated\", \"k_rotated\"], theta: 500000.0, dim: \"head_dim\"),",
                "to: [\"q_once\", \"k_once\"], theta: 500000.0, dim: \"head_dim\"),
                 Rope(from: [\"q_once\", \"k_once\"], to: [\"q_rotated\", \"k_rotated\"], theta: 500000.0, dim: 16),",
            )],
            &[("Rope", "rotary embeddings turn the same elements of a head")],
        ),
        (
            &[(
                "Mul(from: [\"gate_act\", \"up\"], to: \"product\")",
                "Mul(from: [\"gate_act\", \"gate_act\"], to: \"e\"), Mul(from: [\"e\", \"up\"], to: \"product\")",
            )],
            &[("Relu2", "one Mul that reads it")],
        ),
        (
            &[(
                "SplitHeads(from: [\"q\", \"k\", \"v\"]",
                "Bias(from: \"v\", to: \"w\", weight: \"model.layers.{layer}.bias\", shape: [\"hidden\"]),
                 SplitHeads(from: [\"q\", \"k\", \"w\"]",
            )],
            &[("\"v\"", "a bias and what it is added to differ in width")],
        ),
        (
            &[(
                "SplitHeads(from: [\"q\", \"k\", \"v\"]",
                "Bias(from: \"v\", to: \"w\", weight: \"model.layers.{layer}.bias\", shape: [\"kv_heads*head_dim\"], scaled_by: \"v\"),
                 SplitHeads(from: [\"q\", \"k\", \"w\"]",
            )],
            &[("Bias", "a scale of no tensor")],
        ),
        (
            &[("name: \"tiny-shakespeare\"", "name: \"tiny\\u{1b}[2J\"")],
            &[("\"tiny\\u{1b}[2J\"", "control characters")],
        ),
        (&[("theta: 500000.0", "theta: 1e-30")], &[("1e-30", "from 1e0 to 1e12")]),
        (
            &[(
                "model.norm.weight\", shape: [\"hidden\"], eps: 1e-5",
                "model.norm.weight\", shape: [\"hidden\"], eps: 1e300",
            )],
            &[("1e300", "an epsilon such as 1e-5, from 1e-20 to 1e0")],
        ),
    ];
    for (edits, mistakes) in cases {
        let errors = broken(edits);
        let text = edits.iter().fold(text(), |text, (from, to)| text.replace(from, to));
        let found: Vec<_> = errors.errors.iter().map(|e| &text[e.span.clone()]).collect();
        assert_eq!(found, mistakes.iter().map(|m| m.0).collect::<Vec<_>>(), "{}", errors.listing());
        for ((_, said), line) in mistakes.iter().zip(errors.listing().lines()) {
            assert!(line.contains(said), "{said}: {line}");
        }
    }
}

#[test]
fn sums_may_name_the_residual_stream_second_and_read_it_side_by_side() {
    let beside = text()
        .replace("Add(from: [\"x\", \"o\"]", "Add(from: [\"o\", \"x\"]")
        .replace("RmsNorm(from: \"attn_out\", to: \"ffn_norm\"", "RmsNorm(from: \"x\", to: \"ffn_norm\"");
    Model::parse("m", &beside).unwrap();
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
                    model.to_graph(bitnetc_plan::PhaseKind::Decode { batch: 1 }, model.context).unwrap();
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
