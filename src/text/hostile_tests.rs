//! Tokenizers and chat templates that nobody would write.

use super::*;

use crate::hostile::{in_folder, tried};

#[test]
fn tokenizers_and_templates() {
    let small = serde_json::json!({
        "version": "1.0", "added_tokens": [{"id": 3, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true}],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "_"}, {"type": "NFC"}]},
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "\\p{L}+|\\s"}, "behavior": "Isolated", "invert": false},
        "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"], "byte_fallback": true},
    });
    let config = br#"{"eos_token": "<s>", "chat_template": "{% for m in messages %}{{ m.content[1:3] }}{% endfor %}"}"#;
    let use_it = |folder: &Path| {
        let Ok(text) = Text::open(folder) else { return };
        if let Ok(tokens) = text.tokens("ab ba") {
            let _ = text.text(&tokens);
        }
        let _ = text.conversation(&[Message { role: "user", content: "ab".into() }]);
    };
    in_folder("tokenizer", "tokenizer.json", &[small.to_string().into_bytes()], use_it);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), small.to_string()).unwrap();
    tried("template", &[config.to_vec()], |bytes| {
        std::fs::write(folder.path().join("tokenizer_config.json"), bytes).unwrap();
        use_it(folder.path());
    });
}
