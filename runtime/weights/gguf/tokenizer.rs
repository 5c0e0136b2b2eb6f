//! A GGUF file's vocabulary as a `tokenizer.json`.
//!
//! | `tokenizer.ggml.model` | becomes |
//! |---|---|
//! | `gpt2` | byte-level BPE with the file's merges; `tokenizer.ggml.pre` says how text is split before |
//! | `llama` | SentencePiece's BPE: two pieces join if together they are a piece, those of the best score first |
//!
//! Which ids begin and end a text is in the metadata; where `tokenizer.ggml.add_bos_token` is absent, llama.cpp's defaults hold.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::container::Gguf;
use crate::weights::WeightError;

/// What a Hugging Face folder would say of text.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    /// `tokenizer.json`.
    pub tokenizer: Value,
    /// `tokenizer_config.json`: the chat template and the texts of special tokens.
    pub config: Value,
    /// Ids that end a text.
    pub stop_tokens: Vec<u32>,
    /// What a person should know of it.
    pub notes: Vec<String>,
}

impl Vocabulary {
    /// Reads the vocabulary of a file.
    ///
    /// # Errors
    /// Metadata that is missing or of the wrong type; a tokenizer that is not read.
    pub fn of(gguf: &Gguf) -> Result<Vocabulary, WeightError> {
        let mut notes = Vec::new();
        let tokenizer = document(gguf, &mut notes)?.map_err(|why| gguf.malformed(why))?;
        let stop_tokens = stop_tokens(gguf)?.into_iter().filter_map(|id| u32::try_from(id).ok()).collect();
        Ok(Vocabulary { tokenizer, config: config(gguf)?, stop_tokens, notes })
    }
}

/// How text is split before byte-level BPE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Split {
    Gpt2,
    Llama3,
    Qwen2,
}

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Smallest vocabulary that is taken for Llama 3's when a file does not say how text is split.
const LLAMA3_TOKENS: usize = 128_000;

/// Kinds of tokens in `tokenizer.ggml.token_type`.
const UNKNOWN: f64 = 2.0;
const CONTROL: f64 = 3.0;
const USER_DEFINED: f64 = 4.0;

/// Ids that end a text: of the text, of a turn, of a message.
pub(super) fn stop_tokens(gguf: &Gguf) -> Result<Vec<u64>, WeightError> {
    let mut ids = Vec::new();
    for name in ["eos", "eot", "eom"] {
        ids.extend(gguf.number(&format!("tokenizer.ggml.{name}_token_id"))?);
    }
    if ids.is_empty() && gguf.text("tokenizer.ggml.model")? == Some("llama") {
        ids.push(2);
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// `tokenizer_config.json`.
fn config(gguf: &Gguf) -> Result<Value, WeightError> {
    let mut config = Map::new();
    if let Some(template) = gguf.text("tokenizer.chat_template")? {
        config.insert("chat_template".into(), template.into());
    }
    let tokens = gguf.texts("tokenizer.ggml.tokens")?.unwrap_or_default();
    for (name, role) in [("bos_token", "bos"), ("eos_token", "eos"), ("unk_token", "unknown"), ("pad_token", "padding")]
    {
        let token = special(gguf, role)?.and_then(|id| tokens.get(id));
        if let Some(token) = token {
            config.insert(name.into(), token.as_str().into());
        }
    }
    Ok(Value::Object(config))
}

/// The id of a special token. Those of `llama` have defaults.
fn special(gguf: &Gguf, role: &str) -> Result<Option<usize>, WeightError> {
    let named = gguf.number(&format!("tokenizer.ggml.{role}_token_id"))?;
    let default = match (gguf.text("tokenizer.ggml.model")?, role) {
        (Some("llama"), "unknown") => Some(0),
        (Some("llama"), "bos") => Some(1),
        (Some("llama"), "eos") => Some(2),
        _ => None,
    };
    Ok(named.or(default).and_then(|id| usize::try_from(id).ok()))
}

/// `tokenizer.json`, or why the file's tokenizer is not one that can be read.
fn document(gguf: &Gguf, notes: &mut Vec<String>) -> Result<Result<Value, String>, WeightError> {
    if let Some(text) = gguf.text("tokenizer.huggingface.json")? {
        return Ok(serde_json::from_str(text).map_err(|e| format!("its tokenizer.huggingface.json: {e}")));
    }
    let (Some(model), Some(tokens)) = (gguf.text("tokenizer.ggml.model")?, gguf.texts("tokenizer.ggml.tokens")?) else {
        return Ok(Err("it has no tokenizer".into()));
    };
    let types = gguf.numbers("tokenizer.ggml.token_type")?.unwrap_or_default();
    if !types.is_empty() && types.len() != tokens.len() {
        return Ok(Err(format!("it has {} tokens and the types of {}", tokens.len(), types.len())));
    }
    let (parts, bos) = match model {
        "gpt2" => match split(gguf, &tokens, notes)? {
            Ok(split) => {
                let merges = gguf.texts("tokenizer.ggml.merges")?;
                let merges = merges.ok_or_else(|| gguf.malformed("its gpt2 vocabulary has no merges".into()))?;
                (byte_level(&tokens, merges, split), split == Split::Llama3)
            }
            Err(why) => return Ok(Err(why)),
        },
        "llama" => {
            let scores = gguf.numbers("tokenizer.ggml.scores")?;
            let scores = scores.filter(|scores| scores.len() == tokens.len());
            let scores =
                scores.ok_or_else(|| gguf.malformed("its llama vocabulary has no score for each token".into()))?;
            let prefix = gguf.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
            let unknown = special(gguf, "unknown")?.and_then(|id| tokens.get(id));
            (sentence_piece(&tokens, &scores, prefix, unknown), true)
        }
        other => return Ok(Err(format!("its tokenizer is of kind `{other}`; gpt2 and llama are read"))),
    };
    let added: Vec<Value> = tokens
        .iter()
        .zip(&types)
        .enumerate()
        .filter(|(_, (_, kind))| [UNKNOWN, CONTROL, USER_DEFINED].contains(kind))
        .map(|(id, (token, kind))| {
            json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": *kind != USER_DEFINED})
        })
        .collect();
    let begin = gguf.flag("tokenizer.ggml.add_bos_token")?.unwrap_or(bos).then_some("bos");
    let end = gguf.flag("tokenizer.ggml.add_eos_token")?.unwrap_or(false).then_some("eos");
    let around = |role: Option<&str>| -> Result<Option<(usize, String)>, WeightError> {
        let Some(role) = role else { return Ok(None) };
        let id = special(gguf, role)?;
        let found = id.and_then(|id| Some((id, tokens.get(id)?.clone())));
        let asked = gguf.flag(&format!("tokenizer.ggml.add_{role}_token"))? == Some(true);
        match (found, id) {
            (None, None) if asked => Err(gguf.malformed(format!(
                "tokenizer.ggml.add_{role}_token is true, and there is no tokenizer.ggml.{role}_token_id"
            ))),
            (None, Some(id)) => {
                let count = tokens.len();
                Err(gguf.malformed(format!("tokenizer.ggml.{role}_token_id is {id} of {count} tokens")))
            }
            (found, _) => Ok(found),
        }
    };
    let mut document = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "post_processor": template(around(begin)?, around(end)?)});
    if let (Some(document), Value::Object(mut parts)) = (document.as_object_mut(), parts) {
        document.append(&mut parts);
    }
    Ok(Ok(document))
}

/// Puts tokens before and after every text.
fn template(begin: Option<(usize, String)>, end: Option<(usize, String)>) -> Value {
    if begin.is_none() && end.is_none() {
        return Value::Null;
    }
    let mut tokens = Map::new();
    let mut piece = |token: &Option<(usize, String)>| {
        token.as_ref().map(|(id, text)| {
            tokens.insert(text.clone(), json!({"id": text, "ids": [id], "tokens": [text]}));
            json!({"SpecialToken": {"id": text, "type_id": 0}})
        })
    };
    let (begin, end) = (piece(&begin), piece(&end));
    let text = |id: &str| Some(json!({"Sequence": {"id": id, "type_id": 0}}));
    let of = |parts: Vec<Option<Value>>| parts.into_iter().flatten().collect::<Vec<_>>();
    json!({
        "type": "TemplateProcessing",
        "single": of(vec![begin.clone(), text("A"), end.clone()]),
        "pair": of(vec![begin.clone(), text("A"), end.clone(), begin, text("B"), end]),
        "special_tokens": tokens,
    })
}

/// How text is split, by the name that llama.cpp gives to it.
fn split(gguf: &Gguf, tokens: &[String], notes: &mut Vec<String>) -> Result<Result<Split, String>, WeightError> {
    Ok(Ok(match gguf.text("tokenizer.ggml.pre")? {
        Some("gpt-2" | "mpt" | "olmo" | "jais") => Split::Gpt2,
        Some("llama3" | "llama-v3" | "llama-bpe" | "falcon3") => Split::Llama3,
        Some("qwen2" | "stablelm2") => Split::Qwen2,
        None | Some("default") => {
            let llama3 = tokens.len() >= LLAMA3_TOKENS && tokens.iter().any(|token| token == "<|begin_of_text|>");
            let (split, name) = if llama3 { (Split::Llama3, "Llama 3's") } else { (Split::Gpt2, "GPT-2's") };
            notes.push(format!(
                "the file does not say how text is split into words (tokenizer.ggml.pre): {name} way is taken"
            ));
            split
        }
        Some(other) => {
            let known = "gpt-2, mpt, olmo, jais, llama3, llama-v3, llama-bpe, falcon3, qwen2, stablelm2";
            return Ok(Err(format!("its text is split the way of `{other}` (tokenizer.ggml.pre); known are {known}")));
        }
    }))
}

fn vocabulary(tokens: &[String]) -> Map<String, Value> {
    tokens.iter().enumerate().map(|(id, token)| (token.clone(), id.into())).collect()
}

/// The parts of a `tokenizer.json` of byte-level BPE.
fn byte_level(tokens: &[String], merges: Vec<String>, split: Split) -> Value {
    let bytes =
        |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex});
    let words = |pattern: &str| {
        let words = json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        json!({"type": "Sequence", "pretokenizers": [words, bytes(false)]})
    };
    let (normalizer, words) = match split {
        Split::Gpt2 => (Value::Null, bytes(true)),
        Split::Llama3 => (Value::Null, words(LLAMA3)),
        Split::Qwen2 => (json!({"type": "NFC"}), words(QWEN2)),
    };
    json!({
        "normalizer": normalizer,
        "pre_tokenizer": words,
        "decoder": bytes(true),
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": split == Split::Llama3, "vocab": vocabulary(tokens), "merges": merges},
    })
}

/// The parts of a `tokenizer.json` of SentencePiece's BPE.
fn sentence_piece(tokens: &[String], scores: &[f64], prefix: bool, unknown: Option<&String>) -> Value {
    let space = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let mut normalizers = vec![space];
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        normalizers.insert(0, json!({"type": "Prepend", "prepend": "▁"}));
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    json!({
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": null,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {"type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true,
            "ignore_merges": false, "vocab": vocabulary(tokens), "merges": merges(tokens, scores)},
    })
}

/// Every pair of pieces that together are a piece, the best score first, and those of one score in the vocabulary's order.
fn merges(tokens: &[String], scores: &[f64]) -> Vec<[String; 2]> {
    let ids: HashMap<&str, usize> = tokens.iter().enumerate().map(|(id, token)| (token.as_str(), id)).collect();
    let mut merges = Vec::new();
    for (token, &score) in tokens.iter().zip(scores) {
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if let (Some(&l), Some(&r)) = (ids.get(left), ids.get(right)) {
                merges.push((score, l, r));
            }
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    merges.into_iter().map(|(_, l, r)| [tokens[l].clone(), tokens[r].clone()]).collect()
}
