//! Text to tokens and back: tokenizer.json, the tokens that tokenizer_config.json adds to it, the chat template, the tokens that end a
//! text. All as transformers reads a checkpoint's folder; where its versions differ there is a warning.

use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use bitnetc_plan::folder;
use miette::{IntoDiagnostic, WrapErr, miette};
use serde_json::Value;
use tokenizers::{AddedToken, Tokenizer};

use crate::template::{self, Message};

/// What a checkpoint directory says about text.
pub struct Text {
    tokenizer: Tokenizer,
    template: Option<String>,
    /// Tokens that end a text.
    pub stop_tokens: Vec<u32>,
    /// Names of special tokens, as templates know them, and their texts.
    special: Vec<(String, String)>,
    /// What a person should know of how this tokenizer is read.
    pub warnings: Vec<String>,
}

/// Special tokens that a config may name.
const SPECIAL: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

impl Text {
    /// Reads `tokenizer.json` of `dir`, and of the files beside it that are there: `tokenizer_config.json`, `special_tokens_map.json`,
    /// `added_tokens.json`, `chat_template.jinja`, `generation_config.json`, `config.json`.
    ///
    /// # Errors
    /// No tokenizer, files that do not parse.
    pub fn open(dir: &Path) -> miette::Result<Self> {
        let path = dir.join("tokenizer.json");
        if !path.is_file() {
            let help = "give the directory that has it with --tokenizer";
            return Err(miette!(help = help, "{}: no such file", path.display()));
        }
        let file = optional(&path)?.unwrap_or_default();
        let mut tokenizer = tokenizer(&file).map_err(|e| miette!("{}: {e}", path.display()))?;
        let config = json(&dir.join("tokenizer_config.json"))?.unwrap_or_default();
        let map = json(&dir.join("special_tokens_map.json"))?.unwrap_or_default();
        let special = special(&config, &map);
        let mut warnings = Vec::new();
        add_tokens(&mut tokenizer, added(dir, &config, &special)?, &mut warnings);
        for (_, text) in &special {
            add_tokens(&mut tokenizer, vec![(None, AddedToken::from(text.clone(), true))], &mut warnings);
        }
        if let Some(list) = config["additional_special_tokens"].as_array() {
            let tokens = list.iter().filter_map(content).map(|text| (None, AddedToken::from(text, true))).collect();
            add_tokens(&mut tokenizer, tokens, &mut warnings);
        }
        let template = match optional(&dir.join("chat_template.jinja"))? {
            Some(text) => Some(text),
            None => chat_template(&config)?,
        };
        let mut stop_tokens = Vec::new();
        for file in ["generation_config.json", "config.json"] {
            if let Some(config) = json(&dir.join(file))? {
                stop_tokens.extend(ids(&config["eos_token_id"]));
            }
        }
        let eos = special.iter().find(|(name, _)| name == "eos_token");
        stop_tokens.extend(eos.and_then(|(_, text)| tokenizer.token_to_id(text)));
        stop_tokens.sort_unstable();
        stop_tokens.dedup();
        let text = Text { tokenizer, template, stop_tokens, special, warnings };
        text.compared(&config, &file)
    }

    /// Warns where the config asks for something else than tokenizer.json does: transformers 4.57 follows the config, 5 does not.
    fn compared(mut self, config: &Value, file: &str) -> miette::Result<Self> {
        let older = "as transformers 5 reads it; 4.57 goes by the first";
        let class = config["tokenizer_class"].as_str().unwrap_or_default();
        if class.starts_with("Llama") {
            let tokens = self.tokens("a")?;
            for (field, name, absent, end) in [
                ("add_bos_token", "bos_token", true, tokens.first()),
                ("add_eos_token", "eos_token", false, tokens.last()),
            ] {
                let wanted = config[field].as_bool().unwrap_or(absent);
                let Some((_, token)) = self.special.iter().find(|(special, _)| special == name) else { continue };
                if (end.copied() == self.tokenizer.token_to_id(token)) != wanted {
                    let does = if wanted { "adds none" } else { "adds it" };
                    let advice = match (wanted, absent) {
                        (true, true) => format!("; write `{token}` first into a raw prompt if the answers are bad"),
                        _ => String::new(),
                    };
                    self.warnings.push(format!(
                        "tokenizer_config.json has {field} {wanted} ({class}), but tokenizer.json {does} (`{token}`), {older}{advice}"
                    ));
                }
            }
        } else if let Some(wanted) = config["add_prefix_space"].as_bool() {
            let file: Value = serde_json::from_str(file).unwrap_or_default();
            if file["pre_tokenizer"]["add_prefix_space"].as_bool().is_some_and(|has| has != wanted) {
                let has = !wanted;
                self.warnings.push(format!(
                    "tokenizer_config.json has add_prefix_space {wanted}, but tokenizer.json {has}, {older}"
                ));
            }
        }
        Ok(self)
    }

    /// Checks that the tokenizer is one for a model of `vocab` tokens.
    ///
    /// # Errors
    /// A tokenizer that knows tokens the model does not, or less than half as many. (Vocabularies are padded, by a few hundred at most in
    /// those seen; added tokens beyond one are common, and refused where a text has them.)
    pub fn fits(&self, vocab: u32) -> miette::Result<()> {
        let (own, all) = (self.tokenizer.get_vocab_size(false), self.tokenizer.get_vocab_size(true));
        if own <= vocab as usize && 2 * all >= vocab as usize {
            return Ok(());
        }
        let help = "give the directory of the model's own with --tokenizer";
        Err(miette!(
            help = help,
            "the tokenizer has {all} tokens, the model a vocabulary of {vocab}: they do not belong together"
        ))
    }

    /// Tokens of a text, with the tokens that the tokenizer puts around one.
    ///
    /// # Errors
    /// What the tokenizer refuses.
    pub fn tokens(&self, text: &str) -> miette::Result<Vec<u32>> {
        self.encode(text, true)
    }

    fn encode(&self, text: &str, special: bool) -> miette::Result<Vec<u32>> {
        Ok(self.tokenizer.encode(text, special).map_err(|e| miette!("the tokenizer: {e}"))?.get_ids().to_vec())
    }

    /// Tokens of a text without any around it, and where in the text each ends, in bytes.
    ///
    /// # Errors
    /// What the tokenizer refuses.
    pub fn tokens_with_ends(&self, text: &str) -> miette::Result<Vec<(u32, usize)>> {
        let encoding = self.tokenizer.encode(text, false).map_err(|e| miette!("the tokenizer: {e}"))?;
        Ok(encoding.get_ids().iter().zip(encoding.get_offsets()).map(|(&id, &(_, end))| (id, end)).collect())
    }

    /// True when the checkpoint says how a conversation is written.
    pub fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// Tokens of a conversation; the answer is to follow.
    ///
    /// # Errors
    /// No template, one that does not render.
    pub fn conversation(&self, messages: &[Message]) -> miette::Result<Vec<u32>> {
        let template = self.template.as_deref().ok_or_else(|| miette!("the checkpoint has no chat template"))?;
        let text =
            template::render(template, &self.special, messages).into_diagnostic().wrap_err("the chat template")?;
        // The template writes the tokens around the text itself.
        self.encode(&text, false)
    }

    /// The text of tokens.
    ///
    /// # Errors
    /// What the tokenizer refuses.
    pub fn text(&self, tokens: &[u32]) -> miette::Result<String> {
        self.tokenizer.decode(tokens, true).map_err(|e| miette!("the tokenizer: {e}"))
    }

    /// Decodes token by token, holding back what is not yet whole; `shown` are the tokens that the text goes on from.
    pub fn stream(&self, shown: &[u32]) -> Stream<'_> {
        Stream { text: self, tokens: shown.to_vec(), shown: shown.len(), start: 0 }
    }
}

/// Text that grows.
pub struct Stream<'a> {
    text: &'a Text,
    tokens: Vec<u32>,
    /// Tokens decoded for context.
    start: usize,
    /// Tokens whose text has been given out.
    shown: usize,
}

impl Stream<'_> {
    /// What is new with another token; empty while a character is incomplete.
    ///
    /// # Errors
    /// What the tokenizer refuses.
    pub fn push(&mut self, token: u32) -> miette::Result<String> {
        self.tokens.push(token);
        self.grow(true)
    }

    /// What was held back for the rest of a character that never came.
    ///
    /// # Errors
    /// What the tokenizer refuses.
    pub fn finish(&mut self) -> miette::Result<String> {
        self.grow(false)
    }

    fn grow(&mut self, more_may_come: bool) -> miette::Result<String> {
        let before = self.text.text(&self.tokens[self.start..self.shown])?;
        let now = self.text.text(&self.tokens[self.start..])?;
        // Characters, not text: a token may change how those before it decode, and what is shown stays.
        let new: String = now.chars().skip(before.chars().count()).collect();
        // A replacement character at the end: bytes of a character that are not all there.
        if new.is_empty() || (more_may_come && now.ends_with('\u{fffd}')) {
            return Ok(String::new());
        }
        // Keep one step of context: what joins tokens depends on the one before.
        (self.start, self.shown) = (self.shown, self.tokens.len());
        Ok(new)
    }
}

/// A tokenizer from its text, which neither cuts texts nor fills them up, whatever the file says of it: those are what its last user
/// wanted of batches. The library panics on some files that are no tokenizers, which is an error as any other here.
fn tokenizer(text: &str) -> Result<Tokenizer, String> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let read = panic::catch_unwind(AssertUnwindSafe(|| Tokenizer::from_bytes(text)));
    panic::set_hook(hook);
    let read = read.map_err(|_| "not a tokenizer: a part of it is of an unknown kind".to_string())?;
    let mut tokenizer = read.map_err(|error| error.to_string())?;
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|error| error.to_string())?;
    Ok(tokenizer)
}

/// A token's text, be it written as text or as an object.
fn content(token: &Value) -> Option<String> {
    token.as_str().or_else(|| token["content"].as_str()).map(str::to_string)
}

/// The special tokens that tokenizer_config.json names, or else special_tokens_map.json.
fn special(config: &Value, map: &Value) -> Vec<(String, String)> {
    let token = |name: &str| content(&config[name]).or_else(|| content(&map[name]));
    SPECIAL.iter().filter_map(|name| Some((name.to_string(), token(name)?))).collect()
}

/// Tokens that are to be added, each with the number its file gives it, in the order of the numbers: `added_tokens_decoder` of
/// tokenizer_config.json, or else added_tokens.json.
fn added(dir: &Path, config: &Value, special: &[(String, String)]) -> miette::Result<Vec<(Option<u32>, AddedToken)>> {
    let mut tokens = Vec::new();
    if let Some(decoder) = config["added_tokens_decoder"].as_object() {
        for (id, token) in decoder {
            let text =
                content(token).ok_or_else(|| miette!("tokenizer_config.json: the added token {id} has no content"))?;
            let flag = |name: &str, absent: bool| token[name].as_bool().unwrap_or(absent);
            let special = flag("special", false);
            let token = AddedToken::from(text, special)
                .single_word(flag("single_word", false))
                .lstrip(flag("lstrip", false))
                .rstrip(flag("rstrip", false))
                .normalized(flag("normalized", !special));
            tokens.push((id.parse().ok(), token));
        }
    } else if let Some(Value::Object(file)) = json(&dir.join("added_tokens.json"))? {
        for (text, id) in file {
            let special = special.iter().any(|(_, token)| *token == text);
            tokens.push((id.as_u64().and_then(|id| u32::try_from(id).ok()), AddedToken::from(text, special)));
        }
    }
    tokens.sort_by_key(|(id, _)| *id);
    Ok(tokens)
}

/// Adds tokens as transformers does: one that the vocabulary has keeps its number, another gets the next, whatever its file says.
fn add_tokens(tokenizer: &mut Tokenizer, tokens: Vec<(Option<u32>, AddedToken)>, warnings: &mut Vec<String>) {
    for (wanted, token) in tokens {
        let text = token.content.clone();
        // Known as an added token already, with its own flags.
        if tokenizer.get_added_tokens_decoder().values().any(|known| known.content == text) {
            continue;
        }
        if token.special {
            tokenizer.add_special_tokens(&[token]);
        } else {
            tokenizer.add_tokens(&[token]);
        }
        if let (Some(wanted), Some(found)) = (wanted, tokenizer.token_to_id(&text))
            && wanted != found
        {
            warnings.push(format!(
                "tokenizer_config.json gives `{text}` the number {wanted}; it is {found}, the next of tokenizer.json, as in transformers"
            ));
        }
    }
}

/// A file that need not be there.
fn optional(path: &Path) -> miette::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) if folder::is_lfs_pointer(text.as_bytes()) => {
            Err(miette!("{}: {}", path.display(), folder::LFS_ADVICE))
        }
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).into_diagnostic().wrap_err_with(|| format!("cannot read {}", path.display())),
    }
}

/// A JSON file that need not be there.
///
/// # Errors
/// One that cannot be read or parsed.
pub fn json(path: &Path) -> miette::Result<Option<Value>> {
    let Some(text) = optional(path)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|e| miette!("{}: {e}", path.display()))
}

fn ids(value: &Value) -> Vec<u32> {
    let id = |v: &Value| v.as_u64().and_then(|id| u32::try_from(id).ok());
    value.as_array().map_or_else(|| id(value).into_iter().collect(), |list| list.iter().filter_map(id).collect())
}

/// The template of a config: one, or the one named `default` of several.
fn chat_template(config: &Value) -> miette::Result<Option<String>> {
    let template = &config["chat_template"];
    let Some(several) = template.as_array() else { return Ok(template.as_str().map(str::to_string)) };
    let default = several.iter().find(|t| t["name"] == "default" || several.len() == 1);
    let names = || several.iter().filter_map(|t| t["name"].as_str()).collect::<Vec<_>>().join(", ");
    match default.and_then(|t| t["template"].as_str()) {
        Some(text) => Ok(Some(text.to_string())),
        None if several.is_empty() => Ok(None),
        None => Err(miette!("tokenizer_config.json has chat templates {}, and none named default", names())),
    }
}

#[cfg(test)]
mod tests {
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
        let text =
            Text { tokenizer, template: None, stop_tokens: Vec::new(), special: Vec::new(), warnings: Vec::new() };
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
        assert_eq!(ids(&serde_json::json!([1, 2])), [1, 2]);
        assert_eq!(ids(&serde_json::json!(7)), [7]);
        assert_eq!(ids(&Value::Null), [0; 0]);
        let several = serde_json::json!({"chat_template": [{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]});
        assert_eq!(chat_template(&several).unwrap().as_deref(), Some("b"));
        let none =
            serde_json::json!({"chat_template": [{"name": "a", "template": "x"}, {"name": "b", "template": "y"}]});
        assert!(chat_template(&none).unwrap_err().to_string().contains("a, b"));
    }
}
