//! A tokenizer as transformers makes it of a folder: tokenizer.json, and the tokens that the files beside it add.

use std::path::Path;

use miette::miette;
use serde_json::Value;
use tokenizers::{AddedToken, Tokenizer};

use crate::guard::guarded;
use crate::text::json;

/// Special tokens that a config may name.
const SPECIAL: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// A tokenizer from the text of the file `named`. It neither cuts texts nor fills them up, whatever the file says of it: those are what its
/// last user wanted of batches.
///
/// # Errors
/// Text that is no tokenizer.
pub fn tokenizer(named: &str, text: &str) -> miette::Result<Tokenizer> {
    guarded(named, || {
        let mut tokenizer = Tokenizer::from_bytes(text).map_err(|e| miette!("{named}: {e}"))?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|e| miette!("{named}: {e}"))?;
        Ok(tokenizer)
    })
}

/// A token's text, be it written as text or as an object.
pub fn content(token: &Value) -> Option<String> {
    token.as_str().or_else(|| token["content"].as_str()).map(str::to_string)
}

/// The special tokens that tokenizer_config.json names, or else special_tokens_map.json.
pub fn special(config: &Value, map: &Value) -> Vec<(String, String)> {
    let token = |name: &str| content(&config[name]).or_else(|| content(&map[name]));
    SPECIAL.iter().filter_map(|name| Some((name.to_string(), token(name)?))).collect()
}

/// Tokens that are to be added, each with the number its file gives it, in the order of the numbers: `added_tokens_decoder` of
/// tokenizer_config.json, or else added_tokens.json.
///
/// # Errors
/// Files that cannot be read, a token without text.
pub fn added(
    dir: &Path,
    config: &Value,
    special: &[(String, String)],
) -> miette::Result<Vec<(Option<u32>, AddedToken)>> {
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
pub fn add_tokens(tokenizer: &mut Tokenizer, tokens: Vec<(Option<u32>, AddedToken)>, warnings: &mut Vec<String>) {
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
