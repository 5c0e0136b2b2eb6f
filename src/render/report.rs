//! Errors as they are printed.
//!
//! An error quotes what it has found. Of a file made to harm that may be megabytes, which take minutes to wrap, or codes that a terminal
//! obeys.

use std::error::Error;
use std::fmt;

use miette::{Diagnostic, LabeledSpan, Report, Severity, SourceCode};

/// Characters of a message that are shown whole.
const MOST_SHOWN: usize = 2000;

/// The same error, its messages cut where they are very long, and without control characters.
pub fn bounded(report: Report) -> Report {
    let help = report.help().map(|help| help.to_string());
    let messages: Vec<String> = report.chain().map(ToString::to_string).collect();
    if help.iter().chain(&messages).all(|text| bounded_text(text) == *text) {
        return report;
    }
    let chain = messages
        .iter()
        .rev()
        .fold(None, |source, text| Some(Message { text: bounded_text(text), source: source.map(Box::new) }));
    let help = help.as_deref().map(bounded_text);
    match chain {
        Some(message) => Report::new(Bounded { report, message, help }),
        None => report,
    }
}

fn bounded_text(text: &str) -> String {
    let shown = |c: char| if c.is_control() && c != '\n' { '\u{fffd}' } else { c };
    match text.char_indices().nth(MOST_SHOWN) {
        None => text.chars().map(shown).collect(),
        Some((end, _)) => {
            let start: String = text[..end].chars().take(MOST_SHOWN / 10).map(shown).collect();
            format!("{start}… ({} bytes in all)", text.len())
        }
    }
}

/// One error of a chain.
#[derive(Debug)]
struct Message {
    text: String,
    source: Option<Box<Message>>,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Message {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &dyn Error)
    }
}

/// An error with other words.
#[derive(Debug)]
struct Bounded {
    report: Report,
    message: Message,
    help: Option<String>,
}

impl fmt::Display for Bounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message.fmt(f)
    }
}

impl Error for Bounded {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.message.source()
    }
}

impl Diagnostic for Bounded {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.report.code()
    }

    fn severity(&self) -> Option<Severity> {
        self.report.severity()
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.report.source_code()
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.report.labels()
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        self.report.related()
    }
}

#[cfg(test)]
mod tests {
    use miette::miette;

    use super::*;

    #[test]
    fn long_messages_are_cut_and_controls_taken_out() {
        let inner = miette!(help = "h".repeat(5000), "{}", "语".repeat(1_000_000)).wrap_err("a\u{1b}[31mb\0");
        let shown = bounded(inner);
        assert_eq!(shown.to_string(), "a\u{fffd}[31mb\u{fffd}");
        let all: Vec<String> = shown.chain().map(ToString::to_string).collect();
        assert!(all.len() == 2 && all[1].ends_with("语… (3000000 bytes in all)"), "{all:?}");
        assert!(format!("{shown:?}").len() < 5000);
        assert_eq!(bounded(miette!("two\nlines")).to_string(), "two\nlines");
    }
}
