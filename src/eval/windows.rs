//! The input of `eval` and `compare`, whose tokens are predicted: windows of a text, or lists of tokens.

use std::path::{Path, PathBuf};

use bitnetc_plan::{PhaseKind, Plan};
use clap::ValueEnum;
use miette::miette;

use crate::input;
use crate::text::Text;

/// The files to read.
#[derive(Debug, Clone, clap::Args)]
pub struct Inputs {
    /// Text to predict, in windows of the context
    #[arg(long, value_name = "FILE", required_unless_present = "tokens", conflicts_with = "tokens")]
    pub text: Option<PathBuf>,
    /// Lists of tokens: JSON, `[[1, 2], [3]]` or `{"tokens": [[1, 2], [3]]}`
    #[arg(long, value_name = "FILE")]
    pub tokens: Option<PathBuf>,
    /// Only the first windows of the text
    #[arg(long)]
    pub windows: Option<usize>,
    /// Tokens of a window [default: the context, or the largest prefill bucket if there is one and it is less]
    #[arg(long)]
    pub window: Option<usize>,
    /// Directory of tokenizer.json, or a .gguf, when the weights are elsewhere
    #[arg(long, value_name = "DIR|FILE")]
    pub tokenizer: Option<PathBuf>,
}

/// Which phase computes the logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Computed {
    /// Prefill, all tokens of a window at once
    Prefill,
    /// Decode, one token after the other
    Decode,
}

/// Tokens to predict, and the bytes of text that each token but the first adds.
pub struct Window {
    /// The tokens.
    pub tokens: Vec<u32>,
    /// Bytes of the text after the first token; 0 for lists of tokens without text.
    pub bytes: usize,
}

/// The windows to predict with the plan's `phase`; a text's tokenizer is beside `weights` unless said otherwise.
///
/// # Errors
/// Files that cannot be read or parsed, a token that the model does not have, a window longer than the plan holds, nothing to predict.
pub fn windows(given: &Inputs, plan: &Plan, phase: Computed, weights: &Path) -> miette::Result<Vec<Window>> {
    let (context, largest) = (plan.options.context as usize, largest_bucket(plan));
    let longest = match phase {
        Computed::Prefill => {
            largest.ok_or_else(|| miette!(help = "plan it with --prefill", "the plan has no prefill phase"))?
        }
        Computed::Decode => context,
    };
    let mut windows = match (&given.tokens, &given.text) {
        (Some(path), _) => lists(path, plan.model.vocab)?,
        (None, Some(path)) => {
            let beside = Text::beside(weights);
            let text = Text::open(given.tokenizer.as_deref().unwrap_or(&beside))?;
            text.fits(plan.model.vocab)?;
            let size = given.window.unwrap_or(context.min(largest.unwrap_or(context)));
            of_text(path, &text, size, plan.model.vocab)?
        }
        (None, None) => Vec::new(),
    };
    windows.truncate(given.windows.unwrap_or(usize::MAX));
    if let Some((at, window)) = windows.iter().enumerate().find(|(_, w)| w.tokens.len() > longest) {
        let tokens = window.tokens.len();
        let help = match phase {
            _ if tokens > context => format!("plan it with --context {}", tokens.next_multiple_of(64)),
            Computed::Prefill => format!("plan it with --prefill {}", tokens.next_multiple_of(32)),
            Computed::Decode => String::from("cut it"),
        };
        let limit = if tokens > context { "context" } else { "largest prefill phase" };
        let holds = if tokens > context { context } else { longest };
        return Err(miette!(help = help, "window {at} has {tokens} tokens; the plan's {limit} holds {holds}"));
    }
    let short = plan.short_sequence().map_or(usize::MAX, |short| short as usize);
    if let Some((at, window)) =
        windows.iter().enumerate().find(|(_, w)| phase == Computed::Decode && w.tokens.len() > short)
    {
        let tokens = window.tokens.len();
        let help = "predict it with --phase prefill";
        let what =
            "its tokens turn by other rotary factors than those of a text that is decoded from its first token on";
        return Err(miette!(help = help, "window {at} has {tokens} tokens, more than {short}: {what}"));
    }
    if windows.is_empty() {
        return Err(miette!("nothing to predict: fewer than two tokens"));
    }
    Ok(windows)
}

/// Tokens of the largest prefill phase.
fn largest_bucket(plan: &Plan) -> Option<usize> {
    let tokens = |phase: &bitnetc_plan::Phase| match phase.kind {
        PhaseKind::Prefill { tokens } => Some(tokens as usize),
        PhaseKind::Decode { .. } => None,
    };
    plan.phases.iter().filter_map(tokens).max()
}

/// A text in windows of `size` tokens; a last one of a single token is left out.
fn of_text(path: &Path, text: &Text, size: usize, vocab: u32) -> miette::Result<Vec<Window>> {
    let tokens = text.tokens_with_ends(&input::text(path)?)?;
    if let Some((token, _)) = tokens.iter().find(|(token, _)| *token >= vocab) {
        return Err(miette!(
            "the tokenizer has a token {token}, the model a vocabulary of {vocab}: they do not belong together"
        ));
    }
    let window = |part: &[(u32, usize)]| Window {
        tokens: part.iter().map(|t| t.0).collect(),
        bytes: part.last().map_or(0, |t| t.1) - part.first().map_or(0, |t| t.1),
    };
    Ok(tokens.chunks(size.max(1)).filter(|part| part.len() > 1).map(window).collect())
}

fn lists(path: &Path, vocab: u32) -> miette::Result<Vec<Window>> {
    #[derive(serde::Deserialize)]
    struct Named {
        tokens: Vec<Vec<u32>>,
    }
    let text = input::text(path)?;
    let lists = match text.trim_start().starts_with('[') {
        true => serde_json::from_str(&text),
        false => serde_json::from_str(&text).map(|Named { tokens }| tokens),
    };
    let help = "lists are written [[1, 2], [3]] or {\"tokens\": [[1, 2], [3]]}";
    let lists: Vec<Vec<u32>> = lists.map_err(|error| miette!(help = help, "{}: {error}", path.display()))?;
    for (at, list) in lists.iter().enumerate() {
        if list.is_empty() {
            return Err(miette!("{}: list {at} is empty", path.display()));
        }
        if let Some(token) = list.iter().find(|&&token| token >= vocab) {
            return Err(miette!("{}: list {at} has token {token}; the vocabulary has {vocab}", path.display()));
        }
    }
    Ok(lists.into_iter().map(|tokens| Window { tokens, bytes: 0 }).collect())
}
