//! The mistakes that a model file can contain.

use crate::excerpt::{self, Excerpt};
use miette::Diagnostic;
use std::fmt;
use std::ops::Range;

/// The kind of a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Not RON.
    Syntax,
    /// A field that does not exist there.
    UnknownField,
    /// A field that must be there.
    MissingField,
    /// A value of the wrong kind or out of range.
    BadValue,
    /// An operation or a word that does not exist.
    UnknownName,
    /// A value or dimension used but not defined.
    Undefined,
    /// A value or dimension defined but not used.
    Unused,
    /// A name, field or weight given twice.
    Duplicate,
    /// Shapes that do not fit together.
    Shape,
    /// Dimensions that do not divide.
    Division,
    /// Blocks in an order that makes no model.
    Structure,
    /// Sound operations that do not make a decoder for which there is a plan.
    Decoder,
}

/// One mistake in a model file: its place, the text that was found there, and the form that would be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ModelError {
    /// Its kind.
    pub kind: ErrorKind,
    /// The mistake.
    pub message: String,
    /// The text or value that was found at the span.
    pub found: String,
    /// The value or form that would be accepted.
    pub expected: String,
    /// Bytes of the file.
    pub span: Range<usize>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Diagnostic for ModelError {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(format!("model::{:?}", self.kind)))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.expected))
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = miette::LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(excerpt::label(&self.found, self.span.clone()))))
    }
}

/// Mistakes that a report shows; the rest are counted.
const MOST_SHOWN: usize = 100;

/// Every mistake found in a model file, in the order of the file.
#[derive(Debug, Clone)]
pub struct ModelErrors {
    /// The mistakes, at least one.
    pub errors: Vec<ModelError>,
    file: Excerpt,
}

impl ModelErrors {
    pub(super) fn new(name: &str, text: &str, mut errors: Vec<ModelError>) -> Self {
        errors.sort_by_key(|e| (e.span.start, e.span.end));
        errors.dedup();
        ModelErrors { errors, file: Excerpt::new(name, text) }
    }
}

impl ModelErrors {
    /// One line per mistake: `file:line:column: what; found; expected`.
    pub fn listing(&self) -> String {
        let line = |e: &ModelError| {
            format!("{}:{}:{}: {}: {}; {}", self.file.name(), e.line, e.column, e.message, e.found, e.expected)
        };
        self.errors.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// The name of the file and the number of its mistakes; [`ModelErrors::listing`] and the report by miette show the mistakes themselves.
impl fmt::Display for ModelErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.errors.len() == 1 { "mistake" } else { "mistakes" };
        write!(f, "{}: {} {plural}", self.file.name(), self.errors.len())?;
        if self.errors.len() > MOST_SHOWN { write!(f, ", of which the first {MOST_SHOWN} are shown") } else { Ok(()) }
    }
}

impl std::error::Error for ModelErrors {}

impl Diagnostic for ModelErrors {
    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(&self.file)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.errors.iter().take(MOST_SHOWN).map(|e| e as &dyn Diagnostic)))
    }
}
