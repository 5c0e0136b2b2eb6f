//! Models that use the compiler's own names, or an operation twice, and models of extreme sizes.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use bitnetc_compiler::model::{self, ErrorKind, Model};
use bitnetc_compiler::policy::Policy;
use bitnetc_compiler::target::Target;
use bitnetc_compiler::{CompileError, Compiled, Options, compile};
use bitnetc_plan::{Plan, Source};

/// The shipped small model with some of its text replaced, each wherever it stands.
fn edited(edits: &[(&str, &str)]) -> Model {
    let mut text = model::find("tiny-shakespeare").unwrap().text.to_string();
    for (from, to) in edits {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    Model::parse("model.ron", &text).unwrap_or_else(|errors| panic!("{}", errors.listing()))
}

fn compiled(model: &Model, policy: Policy, folding: bool) -> Result<Compiled, CompileError> {
    let options = Options { policy, folding, prefill: vec![64], ..Options::for_model(model) };
    compile(model, &Target::find("n150").unwrap(), &options)
}

fn plan(model: &Model) -> Plan {
    compiled(model, Policy::Balanced, true).unwrap().plan.into_plan()
}

fn tables(plan: &Plan) -> Vec<(&str, &Source)> {
    let table = |source: &Source| matches!(source, Source::Rows(_));
    plan.weights.iter().filter(|w| table(&w.source)).map(|w| (w.name.as_str(), &w.source)).collect()
}

#[test]
fn two_embeddings_have_two_tables() {
    let plan = plan(&edited(&[(
        r#"Embedding(from: "ids", to: "embedded", weight: "model.embed_tokens.weight", shape: ["vocab", "hidden"]),"#,
        r#"Embedding(from: "ids", to: "one", weight: "model.embed_tokens.weight", shape: ["vocab", "hidden"]),
           Embedding(from: "ids", to: "two", weight: "model.embed_more.weight", shape: ["vocab", "hidden"]),
           Mul(from: ["one", "two"], to: "embedded"),"#,
    )]));
    let tables = tables(&plan);
    assert_eq!(tables.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["one.table", "two.table"]);
    assert_ne!(tables[0].1, tables[1].1);
}

#[test]
fn a_second_rope_has_tables_of_its_own() {
    let rope =
        r#"Rope(from: ["q_heads", "k_heads"], to: ["q_rotated", "k_rotated"], theta: 500000.0, dim: "head_dim"),"#;
    let [first, again] = ["500000.0", "10000.0"].map(|theta| {
        let second = format!(
            r#"Rope(from: ["q_heads", "k_heads"], to: ["q_once", "k_once"], theta: 500000.0, dim: "head_dim"),
               Rope(from: ["q_once", "k_once"], to: ["q_rotated", "k_rotated"], theta: {theta}, dim: "head_dim"),"#
        );
        let plan = plan(&edited(&[(rope, &second)]));
        let mut tables = Vec::new();
        for weight in &plan.weights {
            if let Source::RotaryTable { frequencies, .. } = &weight.source {
                tables.push((weight.name.clone(), frequencies[1]));
            }
        }
        tables
    });
    assert_eq!(first.len(), 2, "the same rope twice, in decode and in prefill, reads the same tables: {first:?}");
    assert_eq!(again.len(), 4, "{again:?}");
    let of = |name: &str| again.iter().find(|(n, _)| n == name).unwrap().1;
    assert_eq!(of("rotary.cos"), first[0].1);
    assert!(of("rotary.1.cos") > of("rotary.cos") && of("rotary.1.sin") > of("rotary.sin"));
}

/// The names the passes and the plan use, given to a projection, a norm and the last token.
#[test]
fn values_may_have_any_name() {
    for (at, taken) in [
        "qkv",
        "logits",
        "tokens",
        "positions",
        "rotary_positions",
        "page_table",
        "first_tokens",
        "rotary",
        "prompt",
        "embedding",
        "split_heads",
        "rope",
        "cache_update",
        "qkv_",
    ]
    .into_iter()
    .enumerate()
    {
        for value in ["o", "attn_norm", "last"] {
            let (value, taken) = (format!("\"{value}\""), format!("\"{taken}\""));
            let model = edited(&[("\"logits\"", "\"scores\""), (&value, &taken)]);
            let policy = Policy::ALL[at % 3];
            if let Err(error) = compiled(&model, policy, at % 2 == 0) {
                panic!("{value} named {taken}, {policy}: {error}");
            }
        }
    }
}

/// A dot is how passes make names from these.
#[test]
fn a_name_with_a_dot_is_a_mistake() {
    let text = model::find("tiny-shakespeare").unwrap().text.replace("\"attn_out\"", "\"x.in\"");
    let errors = Model::parse("model.ron", &text).unwrap_err();
    let [error] = errors.errors.as_slice() else { panic!("{}", errors.listing()) };
    assert_eq!((error.kind, &text[error.span.clone()]), (ErrorKind::BadValue, "\"x.in\""));
    assert_eq!(error.expected, "letters, digits and _, no digit first");
}

/// Decode has no slice of the last token, so its fused projection could take that name; the weight would be there twice.
#[test]
fn both_phases_read_one_fused_weight() {
    let plan = plan(&edited(&[("\"last\"", "\"qkv\"")]));
    let fused: Vec<_> = plan.weights.iter().filter(|w| w.name.starts_with("qkv")).map(|w| &w.name).collect();
    assert_eq!(fused, ["qkv_"]);
}

#[test]
fn sizes_beyond_a_tensor_are_refused() {
    for edits in [
        [
            ("20,\n        \"kv_heads\": 5", "134217728,\n        \"kv_heads\": 4"),
            ("\"head_dim\": 32", "\"head_dim\": 2"),
        ],
        [("\"heads\": 20", "\"heads\": 10"), ("\"head_dim\": 32", "\"head_dim\": 214748360")],
        [("\"hidden\": 640", "\"hidden\": 2147483648"), ("\"context\": 256", "\"context\": 2147483648")],
        [("\"ffn\": 1728", "\"ffn\": 2147483648"), ("\"vocab\": 1024", "\"vocab\": 2147483648")],
        [("\"vocab\": 1024", "\"vocab\": 2147483648"), ("\"layers\": 4", "\"layers\": 16384")],
    ] {
        for policy in Policy::ALL {
            let error = compiled(&edited(&edits), policy, true).unwrap_err();
            let typed =
                matches!(error, CompileError::Select { .. } | CompileError::Place { .. } | CompileError::Dram { .. });
            assert!(typed, "{edits:?}: {error}");
        }
    }
}
