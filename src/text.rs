//! Text to tokens and back: tokenizer.json, the tokens that tokenizer_config.json adds to it, or a GGUF file's vocabulary; the chat
//! template, and the tokens that end a text. A checkpoint's folder is read as transformers reads it; where its versions differ there is a
//! warning.

use std::path::{Path, PathBuf};

use bitnetc_plan::{folder, input};
use bitnetc_runtime::weights::gguf::{self, Gguf, Vocabulary};
use miette::{IntoDiagnostic, WrapErr, miette};
use serde_json::Value;
use tokenizers::{AddedToken, Tokenizer};

use crate::guard::guarded;
use crate::template::{self, Message};
use crate::tokenizer::{add_tokens, added, content, special, tokenizer};

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

impl Text {
    /// The place of the tokenizer of weights at `weights`: there, or beside a packed file.
    pub fn beside(weights: &Path) -> PathBuf {
        let here = weights.is_dir() || gguf::is_gguf(weights);
        if here { weights.into() } else { weights.parent().map(PathBuf::from).unwrap_or_default() }
    }

    /// Reads the vocabulary of a GGUF file, or `tokenizer.json` of `dir`, and of the files beside it that are there:
    /// `tokenizer_config.json`, `special_tokens_map.json`, `added_tokens.json`, `chat_template.jinja`, `generation_config.json`,
    /// `config.json`.
    ///
    /// # Errors
    /// No tokenizer, files that do not parse.
    pub fn open(dir: &Path) -> miette::Result<Self> {
        if gguf::is_gguf(dir) {
            return Text::of_gguf(dir);
        }
        let path = dir.join("tokenizer.json");
        if !path.exists() {
            return Err(without_tokenizer(dir));
        }
        let file = optional(&path)?.unwrap_or_default();
        let mut tokenizer = tokenizer(&path.display().to_string(), &file)?;
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
        // As transformers' `generate`: the config's own are for folders that have no others.
        let mut stop_tokens = Vec::new();
        for file in ["generation_config.json", "config.json"] {
            let config = json(&dir.join(file))?.unwrap_or_default();
            if stop_tokens.is_empty() {
                stop_tokens = ids(&dir.join(file), &config["eos_token_id"])?;
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

    fn of_gguf(path: &Path) -> miette::Result<Self> {
        let help = "give the directory of its tokenizer.json with --tokenizer";
        let read = Gguf::open(path).and_then(|gguf| Vocabulary::of(&gguf));
        let Vocabulary { tokenizer, config, stop_tokens, notes } = read.map_err(|e| miette!(help = help, "{e}"))?;
        let named = format!("the vocabulary of {}", path.display());
        let json = tokenizer.to_string();
        let tokenizer =
            guarded(&named, || Tokenizer::from_bytes(json).map_err(|e| miette!(help = help, "{named}: {e}")))?;
        let special = special(&config, &Value::Null);
        Ok(Text { tokenizer, template: chat_template(&config)?, stop_tokens, special, warnings: notes })
    }

    /// Tokens of a text, with the tokens that the tokenizer puts around one.
    ///
    /// # Errors
    /// What the tokenizer refuses.
    pub fn tokens(&self, text: &str) -> miette::Result<Vec<u32>> {
        self.encode(text, true)
    }

    fn encode(&self, text: &str, special: bool) -> miette::Result<Vec<u32>> {
        guarded("the tokenizer", || {
            Ok(self.tokenizer.encode(text, special).map_err(|e| miette!("the tokenizer: {e}"))?.get_ids().to_vec())
        })
    }

    /// Tokens of a text without any around it, and where in the text each ends, in bytes.
    ///
    /// # Errors
    /// What the tokenizer refuses.
    pub fn tokens_with_ends(&self, text: &str) -> miette::Result<Vec<(u32, usize)>> {
        let encoding =
            guarded("the tokenizer", || self.tokenizer.encode(text, false).map_err(|e| miette!("the tokenizer: {e}")))?;
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
        let text = guarded("the chat template", || {
            template::render(template, &self.special, messages).into_diagnostic().wrap_err("the chat template")
        })?;
        // The template writes the tokens around the text itself.
        self.encode(&text, false)
    }

    /// The text of tokens.
    ///
    /// # Errors
    /// What the tokenizer refuses.
    pub fn text(&self, tokens: &[u32]) -> miette::Result<String> {
        guarded("the tokenizer", || self.tokenizer.decode(tokens, true).map_err(|e| miette!("the tokenizer: {e}")))
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
    match input::text(path) {
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

/// The error of a folder without tokenizer.json.
fn without_tokenizer(dir: &Path) -> miette::Report {
    let older = ["tokenizer.model", "vocab.json", "merges.txt"].into_iter().find(|name| dir.join(name).exists());
    let path = dir.join("tokenizer.json");
    match older {
        Some(name) => miette!(
            help = "transformers' `AutoTokenizer.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)` makes one; give NEW_FOLDER with --tokenizer",
            "{}: no such file, only {name}, from which it can be made",
            path.display()
        ),
        None => miette!(help = "give the directory that has it with --tokenizer", "{}: no such file", path.display()),
    }
}

/// One number of a token or a list of them, or none where it is null or absent.
fn ids(path: &Path, value: &Value) -> miette::Result<Vec<u32>> {
    let list = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(list) => list.iter().collect(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => vec![value],
    };
    let id = |value: &&Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let found: Option<Vec<u32>> = list.iter().map(id).collect();
    found.ok_or_else(|| {
        miette!("{}: `eos_token_id` is {value}; it is the number of a token or a list of such", path.display())
    })
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
mod tests;

#[cfg(test)]
mod hostile_tests;

#[cfg(test)]
#[path = "text_gguf_tests.rs"]
mod gguf_tests;
