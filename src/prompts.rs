//! Where prompts come from: the command line, files, and stdin.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use miette::miette;

use crate::input;

/// Prompts to read.
#[derive(Debug, Clone, clap::Args)]
pub struct Prompts {
    /// What to continue; may be repeated: more prompts than the plan has users are answered one round after the other
    #[arg(long)]
    prompt: Vec<String>,
    /// A file with a prompt, or `-` for stdin, besides those of --prompt; may be repeated
    #[arg(long, value_name = "FILE")]
    prompt_file: Vec<PathBuf>,
    /// A file with a prompt on each line, or `-` for stdin; empty lines are left out
    #[arg(long, value_name = "FILE")]
    prompt_lines: Vec<PathBuf>,
}

impl Prompts {
    /// Those that were named.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub fn named(&self) -> miette::Result<Vec<String>> {
        let mut prompts = self.prompt.clone();
        for path in &self.prompt_file {
            prompts.push(read(path)?);
        }
        for path in &self.prompt_lines {
            let text = read(path)?;
            prompts.extend(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_string));
        }
        Ok(prompts)
    }

    /// Those that were named, or else what a pipe or file gives on stdin, or else `usual`.
    ///
    /// # Errors
    /// What cannot be read; no prompt at all.
    pub fn all(&self, usual: Option<&str>) -> miette::Result<Vec<String>> {
        let mut prompts = self.named()?;
        if prompts.is_empty() && !input::stdin_is_taken() && !std::io::stdin().is_terminal() {
            let text = read(Path::new("-"))?;
            prompts.extend(Some(text).filter(|text| !text.trim().is_empty()));
        }
        if prompts.is_empty() {
            prompts.extend(usual.map(str::to_string));
        }
        if prompts.is_empty() {
            let help = "give it with --prompt, --prompt-file, --prompt-lines or on stdin, or talk with --chat";
            return Err(miette!(help = help, "no prompt"));
        }
        Ok(prompts)
    }
}

/// A file's text, or stdin's without the newline that shells put at its end.
fn read(path: &Path) -> miette::Result<String> {
    let mut text = input::text(path)?;
    if !input::is_stdin(path) {
        return Ok(text);
    }
    let end = text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text).len());
    text.truncate(end.unwrap_or(text.len()));
    Ok(text)
}
