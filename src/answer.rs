//! Answers as text: tokens are decoded as they come, shown as soon as they are sure, and ended at texts that a person gave.

use std::time::{Duration, Instant};

use bitnetc_runtime::{Device, Flow, GenerateOptions, Session, Stop, generate};
use miette::IntoDiagnostic;

use crate::render::Progress;
use crate::text::{Stream, Text};

/// An answer to one prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// All of it.
    pub text: String,
    /// Tokens it took.
    pub tokens: usize,
    /// Why there is no more.
    pub end: &'static str,
}

/// What answering took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    /// Tokens of prompts.
    pub read: usize,
    /// New tokens.
    pub written: usize,
    /// New tokens after the first of each answer.
    pub decoded: usize,
    /// Until the last answer's first token.
    pub reading: Duration,
    /// From then on.
    pub writing: Duration,
}

impl Spent {
    /// Adds what another round took.
    pub fn add(&mut self, other: Spent) {
        self.read += other.read;
        self.written += other.written;
        self.decoded += other.decoded;
        self.reading += other.reading;
        self.writing += other.writing;
    }

    /// Both rates, for a person. The first token of an answer is the prompt's, computed as it is read.
    pub fn rates(&self) -> String {
        let rate = |tokens: usize, time: Duration| tokens as f64 / time.as_secs_f64().max(1e-9);
        let (reading, writing) = (rate(self.read, self.reading), rate(self.decoded, self.writing));
        let seconds = |time: Duration| time.as_secs_f64();
        let writing = if self.decoded > 0 { format!(", {writing:.1} tokens/s") } else { String::new() };
        format!(
            "{} tokens read in {:.2} s, {reading:.1} tokens/s; {} written in {:.2} s{writing}",
            self.read,
            seconds(self.reading),
            self.written,
            seconds(self.writing)
        )
    }
}

/// The text of an answer while it grows.
struct Growing<'t> {
    stream: Stream<'t>,
    stops: Stops<'t>,
    first: Option<Instant>,
    text: String,
}

/// Answers up to `session.batch()` prompts at once. `after` are the tokens that the first answer's text goes on from, when it is shown
/// behind its prompt. `show` gets the number of an answer and what is new of it, and says whether anyone still reads.
///
/// # Errors
/// Whatever the steps or the tokenizer refuse, and `show`.
pub fn answer(
    session: &mut Session<Box<dyn Device>>,
    text: &Text,
    prompts: &[Vec<u32>],
    after: &[u32],
    (options, stops): (&GenerateOptions<'_>, &[String]),
    mut show: impl FnMut(usize, &str) -> miette::Result<bool>,
) -> miette::Result<(Vec<Answer>, Spent)> {
    let growing = |at: usize| Growing {
        stream: text.stream(if at == 0 { after } else { &[] }),
        stops: Stops::new(stops),
        first: None,
        text: String::new(),
    };
    let mut answers: Vec<Growing<'_>> = (0..prompts.len()).map(growing).collect();
    let (mut failed, mut read) = (None, 0);
    let (count, tokens) = (prompts.len(), prompts.iter().map(Vec::len).sum::<usize>());
    let mut waiting = Some(Progress::waiting(format!("reading {tokens} tokens")));
    let started = Instant::now();
    let texts = generate(session, prompts, options, |user, token| {
        let answer = &mut answers[user];
        if answer.first.is_none() {
            answer.first = Some(Instant::now());
            read += 1;
            match &waiting {
                // What is written is shown from here on.
                Some(_) if count == 1 => waiting = None,
                Some(line) if read < count => line.say(format!("reading {tokens} tokens, {read} of {count} prompts")),
                Some(line) => line.say(format!("writing {count} answers")),
                None => {}
            }
        }
        let shown = answer.stream.push(token).and_then(|new| {
            let new = answer.stops.push(&new);
            answer.text.push_str(&new);
            show(user, &new)
        });
        match shown {
            Ok(true) if !answer.stops.hit => Flow::Continue,
            Ok(_) => Flow::End,
            Err(error) => {
                failed = Some(error);
                Flow::End
            }
        }
    })
    .into_diagnostic()?;
    let ended = Instant::now();
    drop(waiting);
    if let Some(error) = failed {
        return Err(error);
    }
    let begun = answers.iter().filter_map(|answer| answer.first).max().unwrap_or(ended);
    let mut spent = Spent {
        read: tokens,
        written: texts.iter().map(|text| text.tokens.len()).sum(),
        decoded: 0,
        reading: begun - started,
        writing: ended - begun,
    };
    spent.decoded = spent.written - answers.iter().filter(|answer| answer.first.is_some()).count();
    let mut whole = Vec::new();
    for (user, (mut answer, text)) in answers.into_iter().zip(texts).enumerate() {
        let held = answer.stream.finish()?;
        let last = answer.stops.push(&held) + &answer.stops.finish();
        answer.text.push_str(&last);
        show(user, &last)?;
        let end = if answer.stops.hit { "ended by a stop text" } else { ending(text.stop) };
        whole.push(Answer { text: answer.text, tokens: text.tokens.len(), end });
    }
    Ok((whole, spent))
}

fn ending(stop: Stop) -> &'static str {
    match stop {
        Stop::Token(_) => "ended by the model",
        Stop::Length => "as many as asked for",
        Stop::Context => "the context is full",
        Stop::Rotation => {
            "longer texts rotate by other factors from their first token on: give it as a prompt to go on"
        }
        Stop::Asked => "interrupted",
    }
}

/// Looks for texts that end an answer, across the borders of its pieces. A piece that may be the beginning of one is held back.
struct Stops<'s> {
    texts: &'s [String],
    held: String,
    hit: bool,
}

impl<'s> Stops<'s> {
    fn new(texts: &'s [String]) -> Self {
        Stops { texts, held: String::new(), hit: false }
    }

    /// What can be shown with another piece: nothing at or after a text that ends the answer.
    fn push(&mut self, piece: &str) -> String {
        if self.hit {
            return String::new();
        }
        self.held.push_str(piece);
        if let Some(at) = self.texts.iter().filter_map(|text| self.held.find(text.as_str())).min() {
            self.hit = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let begins = |at: &usize| self.texts.iter().any(|text| text.starts_with(&self.held[*at..]));
        let starts = self.held.char_indices().map(|(at, _)| at);
        let at = starts.into_iter().find(begins).unwrap_or(self.held.len());
        let rest = self.held.split_off(at);
        std::mem::replace(&mut self.held, rest)
    }

    /// What was held back.
    fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_before_its_stop_text() {
        let texts = ["END".to_string(), "\n\n".to_string()];
        let run = |pieces: &[&str]| {
            let mut stops = Stops::new(&texts);
            let mut shown: Vec<String> = pieces.iter().map(|piece| stops.push(piece)).collect();
            shown.push(stops.finish());
            (shown, stops.hit)
        };
        let list = |texts: &[&str]| texts.iter().map(|t| t.to_string()).collect::<Vec<_>>();
        assert_eq!(run(&["a E", "N", "D b", "c"]), (list(&["a ", "", "", "", ""]), true));
        assert_eq!(run(&["a E", "Nd", "é\n"]), (list(&["a ", "ENd", "é", "\n"]), false));
        assert_eq!(run(&["x\nEN", "\n\n", "y"]), (list(&["x\n", "EN", "", ""]), true));
        assert_eq!(run(&["EEND"]), (list(&["E", ""]), true));
    }

    #[test]
    fn reading_and_writing_have_rates_of_their_own() {
        let second = Duration::from_secs(1);
        let mut spent = Spent { read: 10, written: 3, decoded: 2, reading: second, writing: second };
        spent.add(spent);
        assert_eq!(spent.rates(), "20 tokens read in 2.00 s, 10.0 tokens/s; 6 written in 2.00 s, 2.0 tokens/s");
    }
}
