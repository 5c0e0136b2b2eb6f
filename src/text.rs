//! Text to tokens and back: tokenizer.json or a GGUF file's vocabulary, the chat template, the tokens that end a text.

use std::path::{Path, PathBuf};

use bitnetc_runtime::weights::gguf::{self, Gguf, Vocabulary};
use miette::{IntoDiagnostic, WrapErr, miette};
use minijinja::{Environment, Error, ErrorKind, context};
use serde_json::Value;
use tokenizers::Tokenizer;

/// What a checkpoint directory says about text.
pub struct Text {
    tokenizer: Tokenizer,
    template: Option<String>,
    /// Tokens that end a text.
    pub stop_tokens: Vec<u32>,
    special: Vec<(&'static str, String)>,
}

impl Text {
    /// Where the text of a model is described whose weights are at `weights`: there, or beside a packed file.
    pub fn beside(weights: &Path) -> PathBuf {
        let here = weights.is_dir() || gguf::is_gguf(weights);
        if here { weights.into() } else { weights.parent().map(PathBuf::from).unwrap_or_default() }
    }

    /// Reads the vocabulary of a GGUF file, or `tokenizer.json` of `dir`, and of the files beside it that are there: `tokenizer_config.json`, `chat_template.jinja`,
    /// `generation_config.json`, `config.json`.
    ///
    /// # Errors
    /// No tokenizer, files that do not parse.
    pub fn open(dir: &Path) -> miette::Result<Self> {
        if gguf::is_gguf(dir) {
            return Text::of_gguf(dir);
        }
        let path = dir.join("tokenizer.json");
        if !path.is_file() {
            let help = "give the directory that has it with --tokenizer";
            return Err(miette!(help = help, "{}: no such file", path.display()));
        }
        let tokenizer = Tokenizer::from_file(&path).map_err(|e| miette!("{}: {e}", path.display()))?;
        let config = json(&dir.join("tokenizer_config.json"))?;
        let template = match optional(&dir.join("chat_template.jinja"))? {
            Some(text) => Some(text),
            None => config.as_ref().and_then(chat_template),
        };
        let special = config.as_ref().map(special).unwrap_or_default();
        let mut stop_tokens = Vec::new();
        for file in ["generation_config.json", "config.json"] {
            if let Some(config) = json(&dir.join(file))? {
                stop_tokens.extend(ids(&config["eos_token_id"]));
            }
        }
        let eos = special.iter().find(|(name, _)| *name == "eos_token");
        stop_tokens.extend(eos.and_then(|(_, text)| tokenizer.token_to_id(text)));
        stop_tokens.sort_unstable();
        stop_tokens.dedup();
        Ok(Text { tokenizer, template, stop_tokens, special })
    }

    fn of_gguf(path: &Path) -> miette::Result<Self> {
        let help = "give the directory of its tokenizer.json with --tokenizer";
        let read = Gguf::open(path).and_then(|gguf| Vocabulary::of(&gguf));
        let Vocabulary { tokenizer, config, stop_tokens, notes } = read.map_err(|e| miette!(help = help, "{e}"))?;
        let tokenizer = Tokenizer::from_bytes(tokenizer.to_string());
        let tokenizer = tokenizer.map_err(|e| miette!(help = help, "the vocabulary of {}: {e}", path.display()))?;
        for note in notes {
            eprintln!("note: {note}");
        }
        Ok(Text { tokenizer, template: chat_template(&config), stop_tokens, special: special(&config) })
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

    /// Tokens of a conversation: an optional system message, then one of the user; the answer is to follow.
    ///
    /// # Errors
    /// No template, one that does not render.
    pub fn conversation(&self, system: Option<&str>, user: &str) -> miette::Result<Vec<u32>> {
        let template = self.template.as_deref().ok_or_else(|| miette!("the checkpoint has no chat template"))?;
        let text = render(template, &self.special, system, user).into_diagnostic().wrap_err("the chat template")?;
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

/// A file that need not be there.
fn optional(path: &Path) -> miette::Result<Option<String>> {
    match std::fs::read_to_string(path) {
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

/// The special tokens that a config names, as templates know them.
fn special(config: &Value) -> Vec<(&'static str, String)> {
    let text = |name: &str| config[name].as_str().or_else(|| config[name]["content"].as_str()).map(str::to_string);
    let names = ["bos_token", "eos_token", "unk_token", "pad_token"];
    names.into_iter().filter_map(|name| Some((name, text(name)?))).collect()
}

/// The template of a config: one, or the one named `default` of several.
fn chat_template(config: &Value) -> Option<String> {
    let template = &config["chat_template"];
    let named = || template.as_array()?.iter().find(|t| t["name"] == "default")?["template"].as_str();
    template.as_str().or_else(named).map(str::to_string)
}

fn render(template: &str, special: &[(&str, String)], system: Option<&str>, user: &str) -> Result<String, Error> {
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |why: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, why))
    });
    for (name, token) in special {
        environment.add_global(name.to_string(), token.clone());
    }
    let mut messages = Vec::new();
    if let Some(system) = system {
        messages.push(context! { role => "system", content => system });
    }
    messages.push(context! { role => "user", content => user });
    let template = without_generation(template);
    environment.add_template("chat", &template)?;
    environment.get_template("chat")?.render(context! { messages, add_generation_prompt => true })
}

/// Marks of what a model is trained on, `{% generation %}`, as blocks that minijinja knows.
fn without_generation(template: &str) -> String {
    let mut template = template.to_string();
    for (open, close) in [("{%", "%}"), ("{%-", "%}"), ("{%", "-%}"), ("{%-", "-%}")] {
        for (from, to) in [("generation", "if true"), ("endgeneration", "endif")] {
            template = template.replace(&format!("{open} {from} {close}"), &format!("{open} {to} {close}"));
        }
    }
    template
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
        Text { tokenizer, template: None, stop_tokens: Vec::new(), special: Vec::new() }
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
        let text = Text { tokenizer, template: None, stop_tokens: Vec::new(), special: Vec::new() };
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

    #[test]
    fn the_end_of_text_is_known() {
        assert_eq!(small().stop_tokens, [1]);
        assert!(!small().has_template());
    }

    #[test]
    fn templates_as_checkpoints_write_them() {
        let template = "{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}\
            {% if message['role'] == 'user' %}{{ 'Human: ' + message['content'].strip() + '\\n\\nAssistant: ' }}\
            {% else %}{{ message['role'] | capitalize + ': ' + message['content'] | trim + eos_token }}{% endif %}\
            {% endfor %}{% if not add_generation_prompt %}{{ raise_exception('no') }}{% endif %}";
        let special = [("bos_token", "<s>".to_string()), ("eos_token", "</s>".to_string())];
        let text = render(template, &special, Some("Be brief. "), " Hi ").unwrap();
        assert_eq!(text, "<s>System: Be brief.</s>Human: Hi\n\nAssistant: ");
        let template = "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}\
            {%- generation -%} {{ m.content | tojson }} {%- endgeneration -%}{% endfor %}";
        assert_eq!(render(template, &[], Some("x"), "a\"b").unwrap(), "\"a\\\"b\"");
        let error = render("{{ raise_exception('roles must alternate') }}", &[], None, "x").unwrap_err();
        assert!(error.to_string().contains("roles must alternate"));
    }

    #[test]
    fn stop_tokens_and_templates_come_in_two_forms() {
        assert_eq!(ids(&serde_json::json!([1, 2])), [1, 2]);
        assert_eq!(ids(&serde_json::json!(7)), [7]);
        assert_eq!(ids(&Value::Null), [0; 0]);
        let several = serde_json::json!({"chat_template": [{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]});
        assert_eq!(chat_template(&several).as_deref(), Some("b"));
    }
}

#[cfg(test)]
#[path = "text_gguf_tests.rs"]
mod gguf_tests;
