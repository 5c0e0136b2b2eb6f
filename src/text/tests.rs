//! Tokens, warnings and stop tokens of folders as people have them.

use super::*;

fn small() -> Text {
    Text::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("graphs/tiny-shakespeare")).unwrap()
}

#[test]
fn a_stream_gives_the_text_in_pieces() {
    let text = small();
    for sample in ["ROMEO:\nO, speak again", "naïve — “quoted” ☃ 語"] {
        let tokens = text.tokens(sample).unwrap();
        let mut stream = text.stream(&[]);
        let pieces: String = tokens.iter().map(|&t| stream.push(t).unwrap()).collect();
        assert_eq!(pieces, text.text(&tokens).unwrap());
    }
}

/// Tokens that are bytes, and a letter.
fn bytes() -> Text {
    let vocab = serde_json::json!({"<0xC3>": 0, "<0xA9>": 1, "<0xFF>": 2, "x": 3});
    let tokenizer = serde_json::json!({
        "version": "1.0", "added_tokens": [],
        "model": {"type": "BPE", "vocab": vocab, "merges": [], "byte_fallback": true},
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
    });
    let tokenizer = Tokenizer::from_bytes(tokenizer.to_string()).unwrap();
    Text { tokenizer, template: None, stop_tokens: Vec::new(), special: Vec::new(), warnings: Vec::new() }
}

#[test]
fn a_stream_takes_nothing_back_and_ends_with_what_it_held() {
    let text = bytes();
    let pieces = |tokens: &[u32]| {
        let mut stream = text.stream(&[]);
        let mut pieces: Vec<String> = tokens.iter().map(|&t| stream.push(t).unwrap()).collect();
        pieces.push(stream.finish().unwrap());
        pieces
    };
    assert_eq!(pieces(&[3, 0, 1]), ["x", "", "é", ""]);
    assert_eq!(pieces(&[3, 0]), ["x", "", "\u{fffd}"]);
    // The third byte makes three characters that are none of what was one.
    assert_eq!(pieces(&[0, 1, 2, 3, 3]), ["", "é", "", "\u{fffd}\u{fffd}x", "x", ""]);
}

#[test]
fn a_stream_goes_on_from_its_prompt() {
    let tokenizer = serde_json::json!({
        "version": "1.0", "added_tokens": [],
        "model": {"type": "BPE", "vocab": {"▁to": 0, "▁be": 1}, "merges": []},
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"},
    });
    let tokenizer = Tokenizer::from_bytes(tokenizer.to_string()).unwrap();
    let text = Text { tokenizer, template: None, stop_tokens: Vec::new(), special: Vec::new(), warnings: Vec::new() };
    assert_eq!(text.stream(&[]).push(1).unwrap(), "be");
    let mut stream = text.stream(&[0]);
    assert_eq!([stream.push(1).unwrap(), stream.push(0).unwrap(), stream.finish().unwrap()], [" be", " to", ""]);
}

#[test]
fn a_file_that_cannot_be_read_is_not_one_that_is_absent() {
    let dir = tempfile::tempdir().unwrap();
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("graphs/tiny-shakespeare/tokenizer.json");
    std::fs::copy(tokenizer, dir.path().join("tokenizer.json")).unwrap();
    assert!(Text::open(dir.path()).is_ok());
    for name in ["config.json", "chat_template.jinja"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
        let error = Text::open(dir.path()).err().unwrap();
        assert!(error.to_string().contains(name), "{error}");
        std::fs::remove_dir(dir.path().join(name)).unwrap();
    }
}

/// The counting tokenizer of tests/checkpoints, with these files beside it.
fn counting(files: &[(&str, &str)]) -> miette::Result<Text> {
    let dir = tempfile::tempdir().unwrap();
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints/counting/tokenizer.json");
    std::fs::copy(tokenizer, dir.path().join("tokenizer.json")).unwrap();
    files.iter().for_each(|(name, text)| std::fs::write(dir.path().join(name), text).unwrap());
    Text::open(dir.path())
}

const SPECIALS: &str = r#""bos_token": "<s>", "eos_token": {"content": "</s>"}, "unk_token": "<unk>""#;

#[test]
fn tokens_of_the_config_are_added() {
    let plain = counting(&[]).unwrap();
    assert_eq!(plain.tokens("A<|im_end|>").unwrap().len(), 11);
    let decoder = r#""added_tokens_decoder": {"120": {"content": "<|im_end|>", "special": true}}"#;
    let text = counting(&[("tokenizer_config.json", &format!("{{{SPECIALS}, {decoder}}}"))]).unwrap();
    assert_eq!(text.tokens("A<|im_end|><unk>").unwrap(), [36, 100, 99]);
    assert!(text.warnings[0].contains("number 120; it is 100"), "{:?}", text.warnings);
    let older = [
        ("added_tokens.json", r#"{"<|b|>": 101, "<|a|>": 100}"#),
        ("special_tokens_map.json", r#"{"eos_token": "<|b|>"}"#),
    ];
    let text = counting(&older).unwrap();
    assert_eq!((text.tokens("<|a|><|b|>").unwrap(), &text.stop_tokens[..]), (vec![100, 101], &[101][..]));
    assert!(text.warnings.is_empty(), "{:?}", text.warnings);
    let more = r#"{"additional_special_tokens": ["<|c|>", {"content": "<|d|>"}]}"#;
    assert_eq!(counting(&[("tokenizer_config.json", more)]).unwrap().tokens("<|d|><|c|>").unwrap(), [101, 100]);
}

#[test]
fn a_token_before_every_text_that_only_the_config_asks_for() {
    let config = |class: &str, fields: &str| {
        let text = format!(r#"{{{SPECIALS}, "tokenizer_class": "{class}"{fields}}}"#);
        counting(&[("tokenizer_config.json", &text)]).unwrap().warnings
    };
    for (class, fields, warned) in [
        ("LlamaTokenizerFast", r#", "add_bos_token": true"#, true),
        ("LlamaTokenizer", "", true),
        ("LlamaTokenizerFast", r#", "add_bos_token": false"#, false),
        ("PreTrainedTokenizerFast", "", false),
        // transformers reads these fields for Llama's class only.
        ("PreTrainedTokenizerFast", r#", "add_bos_token": true"#, false),
        ("LlamaTokenizerFast", r#", "add_bos_token": false, "add_eos_token": true"#, true),
    ] {
        let warnings = config(class, fields);
        assert_eq!(!warnings.is_empty(), warned, "{class} {fields} {warnings:?}");
    }
    assert!(config("LlamaTokenizerFast", "")[0].contains("`<s>`"));
}

/// The tokens that end a text are those of generation_config.json, else those of config.json, and the tokenizer's own.
#[test]
fn a_text_ends_where_generate_ends_it() {
    let stops = |files: &[(&str, &str)]| counting(files).map(|text| text.stop_tokens).map_err(|e| e.to_string());
    let (generation, config) = ("generation_config.json", "config.json");
    assert_eq!(stops(&[(config, r#"{"eos_token_id": 7}"#)]), Ok(vec![7]));
    assert_eq!(
        stops(&[(generation, r#"{"eos_token_id": [9, 8]}"#), (config, r#"{"eos_token_id": 7}"#)]),
        Ok(vec![8, 9])
    );
    assert_eq!(stops(&[(generation, r#"{"eos_token_id": null}"#), (config, r#"{"eos_token_id": 7}"#)]), Ok(vec![7]));
    let own = ("tokenizer_config.json", r#"{"eos_token": "</s>"}"#);
    assert_eq!(stops(&[(generation, r#"{"eos_token_id": 9}"#), own]).map(|stops| stops.len()), Ok(2));
    let error = stops(&[(generation, r#"{"eos_token_id": "9"}"#)]).unwrap_err();
    assert!(error.contains("generation_config.json: `eos_token_id` is \"9\""), "{error}");
}

#[test]
fn a_tokenizer_of_an_older_kind_is_told_how_to_become_one_that_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let error = || Text::open(dir.path()).err().unwrap();
    assert!(error().to_string().ends_with("tokenizer.json: no such file"));
    std::fs::write(dir.path().join("tokenizer.model"), "").unwrap();
    assert!(error().to_string().contains("only tokenizer.model"), "{}", error());
    assert!(error().help().unwrap().to_string().contains("AutoTokenizer"));
}

#[test]
fn texts_are_neither_cut_nor_filled_up() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints/counting/tokenizer.json");
    let mut file: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    file["truncation"] =
        serde_json::json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
    file["padding"] = serde_json::json!({"strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 2, "pad_type_id": 0, "pad_token": "<pad>"});
    let text = counting(&[("tokenizer.json", &file.to_string())]).unwrap();
    assert_eq!(text.tokens("ABCD").unwrap(), [36, 37, 38, 39]);
}

#[test]
fn a_space_before_every_text_that_only_the_config_asks_for() {
    let small = Path::new(env!("CARGO_MANIFEST_DIR")).join("graphs/tiny-shakespeare/tokenizer.json");
    let file = std::fs::read_to_string(small).unwrap();
    for (wanted, warned) in [(true, true), (false, false)] {
        let config = format!(r#"{{"tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": {wanted}}}"#);
        let text = counting(&[("tokenizer.json", &file), ("tokenizer_config.json", &config)]).unwrap();
        assert_eq!(!text.warnings.is_empty(), warned, "{:?}", text.warnings);
    }
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let text = counting(&[]).unwrap();
    assert!([100, 128, 160, 200].iter().all(|&vocab| text.fits(vocab).is_ok()));
    for vocab in [99, 50, 201, 128_256] {
        let error = text.fits(vocab).unwrap_err().to_string();
        assert!(error.contains("has 100 tokens") && error.contains("do not belong together"), "{error}");
    }
}

#[test]
fn what_the_library_panics_on_and_pointers_of_lfs_are_errors() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n";
    let files =
        ["tokenizer.json", "tokenizer_config.json", "generation_config.json", "config.json", "chat_template.jinja"];
    for name in files {
        let error = counting(&[(name, pointer)]).err().unwrap().to_string();
        assert!(error.contains(name) && error.contains("git lfs pull"), "{error}");
    }
    let broken = r#"{"version": "1.0", "added_tokens": [], "decoder": {"1": "Fuse"}, "model": {"type": "BPE", "vocab": {}, "merges": []}}"#;
    let error = counting(&[("tokenizer.json", broken)]).err().unwrap().to_string();
    assert!(error.contains("tokenizer.json"), "{error}");
}

#[test]
fn the_end_of_text_is_known() {
    assert_eq!(small().stop_tokens, [1]);
    assert!(!small().has_template());
}

#[test]
fn stop_tokens_and_templates_come_in_two_forms() {
    assert_eq!(ids(Path::new("x.json"), &serde_json::json!([1, 2])).unwrap(), [1, 2]);
    assert_eq!(ids(Path::new("x.json"), &serde_json::json!(7)).unwrap(), [7]);
    assert_eq!(ids(Path::new("x.json"), &Value::Null).unwrap(), [0; 0]);
    let several = serde_json::json!({"chat_template": [{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]});
    assert_eq!(chat_template(&several).unwrap().as_deref(), Some("b"));
    let none = serde_json::json!({"chat_template": [{"name": "a", "template": "x"}, {"name": "b", "template": "y"}]});
    assert!(chat_template(&none).unwrap_err().to_string().contains("a, b"));
}
