//! Tests of the options that a person can choose, in a model file and beside it: the same rules for precision in both, and contexts of any
//! length.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use bitnetc_compiler::model::{self, ErrorKind, Model, ModelErrors};
use bitnetc_compiler::policy::Override;
use bitnetc_compiler::target::Target;
use bitnetc_compiler::{CompileError, Options, compile};

fn parse(from: &str, to: &str) -> Result<Model, ModelErrors> {
    let text = model::find("tiny-shakespeare").unwrap().text;
    assert_eq!(text.matches(from).count(), 1, "{from}");
    Model::parse("model.ron", &text.replace(from, to))
}

fn with_precision(map: &str) -> Result<Model, ModelErrors> {
    parse("    graph: [", &format!("    precision: {map},\n    graph: ["))
}

#[test]
fn a_model_file_takes_what_the_command_line_takes() {
    let model = with_precision(r#"{ "down": "bfp8/HiFi2", "decode:o": "/lofi/fp32", "lm_head": "bf16" }"#).unwrap();
    let set: Vec<Override> =
        ["down=bfp8/HiFi2", "decode:o=/lofi/fp32", "lm_head=bf16"].map(|o| o.parse().unwrap()).into();
    assert_eq!(model.precision, set);
    let options = Options { prefill: vec![], ..Options::for_model(&model) };
    let plan = compile(&model, &Target::find("n150").unwrap(), &options).unwrap().plan;
    assert_eq!(plan.options.overrides, ["down=bfp8/HiFi2", "decode:o=/lofi/fp32", "lm_head=bf16"]);
}

#[test]
fn a_wrong_precision_is_told_where_it_stands() {
    let map = r#"{ "norm": "bf16/hifi4", "train:o": "/LoFi", "o": "bfp5/LoFi", "up": "bfp4/LoFi/f64", "prefill:down": "bfp8" }"#;
    let errors = with_precision(map).unwrap_err();
    let text = model::find("tiny-shakespeare")
        .unwrap()
        .text
        .replace("    graph: [", &format!("    precision: {map},\n    graph: ["));
    let told: Vec<_> = errors.errors.iter().map(|e| (e.kind, &text[e.span.clone()], e.found.as_str())).collect();
    let roles = "qkv, sdpa, o, gate, up, down, lm_head";
    assert_eq!(
        told,
        [
            (ErrorKind::UnknownName, "norm", format!("no role `norm`: {roles}").as_str()),
            (ErrorKind::UnknownName, "train:o", "no phase `train`: decode or prefill"),
            (ErrorKind::BadValue, "\"bfp5/LoFi\"", "no weight type `bfp5`: bf16, bfp8, bfp4 or bfp2"),
            (ErrorKind::BadValue, "\"bfp4/LoFi/f64\"", "`f64` is one word too many, or no accumulation (fp32 or bf16)"),
            (
                ErrorKind::BadValue,
                "\"bfp8\"",
                "both phases read the same weights, so a data type cannot be set for one"
            ),
        ]
    );
}

#[test]
fn the_default_options_suit_any_context() {
    for (context, block, positions) in
        [(32, 32, 32), (40, 32, 32), (63, 32, 32), (64, 64, 64), (100, 64, 64), (256, 64, 256)]
    {
        let model = parse("\"context\": 256", &format!("\"context\": {context}")).unwrap();
        let options = Options::for_model(&model);
        assert_eq!((options.block, options.context), (block, positions), "{context}");
        let plan = compile(&model, &Target::find("n150").unwrap(), &options).unwrap().plan;
        assert_eq!(plan.options.priced_at, positions - 1, "the last position, where 256 is beyond");
    }
    for context in [1, 31] {
        let model = parse("\"context\": 256", &format!("\"context\": {context}")).unwrap();
        let error = compile(&model, &Target::find("n150").unwrap(), &Options::for_model(&model)).unwrap_err();
        assert!(matches!(error, CompileError::Option { .. }));
        let expected =
            format!("the model's context is {context}; expected a model of at least 32 positions, a cache block");
        assert_eq!(error.to_string(), expected);
    }
}
