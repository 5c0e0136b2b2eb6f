//! Reading of fields and values. A mistake is noted and reading goes on, so that all mistakes of a file are reported together.

use super::error::{ErrorKind, ModelError};
use super::syntax::{Broken, Field, Raw, Tree};
use crate::excerpt::Lines;
use indexmap::IndexMap;
use std::collections::HashSet;
use std::ops::Range;

/// The range of factors of scores and of frequencies, within which f32 holds every power that occurs.
pub(super) const FACTORS: [f64; 2] = [1e-6, 1e6];

/// Names of dimensions that a mistake lists.
const MOST_NAMES: usize = 40;

/// The largest dimension; products of three still fit in 128 bits, of two in 64.
const MAX_DIM: u64 = 1 << 31;

/// The state of reading a file: the mistakes and the dimensions found so far.
pub(super) struct Reader<'a> {
    pub file: &'a str,
    pub lines: Lines,
    pub errors: Vec<ModelError>,
    pub dims: IndexMap<String, Dim>,
}

/// Bytes of a text that a mistake quotes.
const MOST_SHOWN: usize = 2000;

/// A text that is quoted, cut where it is very long.
fn shown(mut text: String) -> String {
    if text.len() > MOST_SHOWN {
        let end = (0..=MOST_SHOWN / 10).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// A named dimension.
pub(super) struct Dim {
    pub value: usize,
    pub span: Range<usize>,
    pub used: bool,
}

impl<'a> Reader<'a> {
    pub fn new(file: &'a str) -> Self {
        Reader { file, lines: Lines::new(file), errors: Vec::new(), dims: IndexMap::new() }
    }

    /// Notes a mistake.
    pub fn error(
        &mut self,
        kind: ErrorKind,
        span: Range<usize>,
        message: &str,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) {
        let (line, column) = self.lines.position(self.file, span.start);
        let (found, expected) = (shown(found.into()), shown(expected.into()));
        self.errors.push(ModelError { kind, message: message.to_string(), found, expected, span, line, column });
    }

    fn broken(&mut self, broken: Broken) {
        self.error(
            ErrorKind::Syntax,
            broken.span,
            "not valid RON",
            broken.message,
            "RON, as in the models shipped in graphs/",
        );
    }

    /// Opens a value, and notes a mistake when ron cannot parse it.
    pub fn open(&mut self, raw: Raw<'a>) -> Option<Tree<'a>> {
        raw.open().map_err(|broken| self.broken(broken)).ok()
    }

    /// Opens the whole file.
    pub fn whole(&mut self) -> Option<Raw<'a>> {
        Raw::file(self.file).map_err(|broken| self.broken(broken)).ok()
    }

    fn wrong(&mut self, raw: Raw<'a>, expected: &str) {
        let kind = match raw.text().chars().next() {
            Some('"') => "text",
            Some('[') => "a list",
            Some('{') => "a map",
            Some('(') => "a tuple or struct",
            Some(c) if c.is_ascii_digit() || c == '-' || c == '+' || c == '.' => "a number",
            _ => "a name",
        };
        self.error(
            ErrorKind::BadValue,
            raw.span(),
            "a value of another kind is needed",
            format!("this is {kind}"),
            expected,
        );
    }

    pub fn fields(&mut self, raw: Raw<'a>, what: &str) -> Option<Fields<'a>> {
        match self.open(raw)? {
            Tree::Fields(fields) => {
                Some(Fields { owner: what.to_string(), span: raw.name_span(), fields, known: Vec::new() })
            }
            Tree::Items(items) if items.is_empty() => {
                Some(Fields { owner: what.to_string(), span: raw.name_span(), fields: Vec::new(), known: Vec::new() })
            }
            Tree::Items(_) | Tree::Text(_) | Tree::Number(_) | Tree::Word => {
                self.wrong(raw, &format!("{what}(field: value, ..)"));
                None
            }
        }
    }

    /// A `[..]` list.
    pub fn list(&mut self, raw: Raw<'a>, expected: &str) -> Option<Vec<Raw<'a>>> {
        match self.open(raw)? {
            Tree::Items(items) if raw.text().starts_with('[') => Some(items),
            Tree::Items(_) | Tree::Fields(_) | Tree::Text(_) | Tree::Number(_) | Tree::Word => {
                self.wrong(raw, expected);
                None
            }
        }
    }

    pub fn text(&mut self, raw: Raw<'a>, expected: &str) -> Option<String> {
        match self.open(raw)? {
            Tree::Text(text) if text.contains(char::is_control) => {
                let found = format!("{:?}", brief(&text));
                self.error(ErrorKind::BadValue, raw.span(), "control characters", found, "text without them");
                None
            }
            Tree::Text(text) if !text.is_empty() => Some(text),
            Tree::Text(_) => {
                self.error(ErrorKind::BadValue, raw.span(), "empty text", "nothing between the quotes", expected);
                None
            }
            Tree::Fields(_) | Tree::Items(_) | Tree::Number(_) | Tree::Word => {
                self.wrong(raw, expected);
                None
            }
        }
    }

    /// Checks the name of a dimension or value. Dots are not allowed, since passes use them in the names that they derive.
    pub fn name(&mut self, name: &str, span: Range<usize>) -> bool {
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let fits = plain && name.starts_with(|c: char| !c.is_ascii_digit());
        if !fits {
            let expected = "letters, digits and _, no digit first";
            self.error(ErrorKind::BadValue, span, "not a name", format!("`{}`", brief(name)), expected);
        }
        fits
    }

    /// A number from `least` to `most`; `what` describes it in messages.
    pub fn number(&mut self, raw: Raw<'a>, [least, most]: [f64; 2], what: &str) -> Option<f64> {
        let expected = format!("{what}, from {least:e} to {most:e}");
        match self.open(raw)? {
            Tree::Number(number) if (least..=most).contains(&number) => Some(number),
            Tree::Number(number) => {
                let found = format!("this is {number:e}");
                self.error(ErrorKind::BadValue, raw.span(), "a number out of range", found, expected);
                None
            }
            Tree::Fields(_) | Tree::Items(_) | Tree::Text(_) | Tree::Word => {
                self.wrong(raw, &expected);
                None
            }
        }
    }

    /// One of a set of names.
    pub fn word<T: Copy>(&mut self, raw: Raw<'a>, what: &str, words: &[(&str, T)]) -> Option<T> {
        let found = words.iter().find(|(name, _)| *name == raw.text()).map(|(_, value)| *value);
        if found.is_none() {
            let names: Vec<_> = words.iter().map(|(name, _)| *name).collect();
            let expected = format!("{what} is one of {}", names.join(", "));
            self.error(
                ErrorKind::UnknownName,
                raw.span(),
                "unknown name",
                format!("`{}`", brief(raw.text())),
                expected,
            );
        }
        found
    }

    /// A whole number, or an expression over the named dimensions: sums of products, `"heads*head_dim + 2*kv_heads*head_dim"`.
    pub fn dim(&mut self, raw: Raw<'a>) -> Option<usize> {
        let expected = "a whole number from 1 to 2^31, or text such as \"heads*head_dim\"";
        let value = match self.open(raw)? {
            Tree::Number(number) if number.fract() == 0.0 && number >= 0.0 && number <= MAX_DIM as f64 => {
                Some(number as u64)
            }
            Tree::Number(_) => None,
            Tree::Text(text) => self.sum(&text, raw.span())?,
            Tree::Fields(_) | Tree::Items(_) | Tree::Word => {
                self.wrong(raw, expected);
                return None;
            }
        };
        match value {
            Some(value) if (1..=MAX_DIM).contains(&value) => usize::try_from(value).ok(),
            _ => {
                self.error(
                    ErrorKind::BadValue,
                    raw.span(),
                    "a dimension out of range",
                    format!("`{}`", brief(raw.text())),
                    expected,
                );
                None
            }
        }
    }

    /// Evaluates a sum of products. The outer option is `None` when a name is unknown, which is then noted; the inner one when the value
    /// overflows.
    fn sum(&mut self, text: &str, span: Range<usize>) -> Option<Option<u64>> {
        let mut total = Some(0_u64);
        let mut known = true;
        for term in text.split('+') {
            let mut product = Some(1_u64);
            for factor in term.split('*').map(str::trim) {
                let value = match (factor.parse::<u64>(), self.dims.get_mut(factor)) {
                    (Ok(number), _) => number,
                    (_, Some(dim)) => {
                        dim.used = true;
                        dim.value as u64
                    }
                    _ => {
                        let names: Vec<_> = self.dims.keys().take(MOST_NAMES).map(String::as_str).collect();
                        let more = if self.dims.len() > MOST_NAMES { ", .." } else { "" };
                        let expected = format!("dimensions are {}{more}", names.join(", "));
                        let found = format!("`{}` is not a dimension", brief(factor));
                        self.error(ErrorKind::Undefined, span.clone(), "undefined dimension", found, expected);
                        known = false;
                        1
                    }
                };
                product = product.and_then(|p| p.checked_mul(value));
            }
            total = total.zip(product).and_then(|(t, p)| t.checked_add(p));
        }
        known.then_some(total)
    }
}

/// The fields of one struct, taken out by name.
pub(super) struct Fields<'a> {
    pub owner: String,
    pub span: Range<usize>,
    fields: Vec<Field<'a>>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// A field that may be absent.
    pub fn optional(&mut self, name: &'static str) -> Option<Raw<'a>> {
        self.known.push(name);
        self.fields.iter().find(|f| f.name == name).map(|f| f.value)
    }

    /// A field that must be there.
    pub fn required(&mut self, reader: &mut Reader<'a>, name: &'static str) -> Option<Raw<'a>> {
        let value = self.optional(name);
        if value.is_none() {
            let expected = format!("add `{name}: ..`");
            reader.error(
                ErrorKind::MissingField,
                self.span.clone(),
                "missing field",
                format!("{} has no `{name}`", self.owner),
                expected,
            );
        }
        value
    }

    /// All fields as they stand, for maps.
    pub fn all(&self) -> &[Field<'a>] {
        &self.fields
    }

    /// Notes the fields nobody took and those given twice.
    pub fn finish(self, reader: &mut Reader<'a>) {
        let mut seen = HashSet::new();
        for field in &self.fields {
            let first = seen.insert(field.name.as_str());
            if !self.known.contains(&field.name.as_str()) {
                let expected = match self.known.as_slice() {
                    [] => format!("{} has no fields", self.owner),
                    known => format!("fields of {} are {}", self.owner, known.join(", ")),
                };
                let found = format!("`{}` is no field of {}", brief(&field.name), self.owner);
                reader.error(ErrorKind::UnknownField, field.name_span.clone(), "unknown field", found, expected);
            } else if !first {
                let found = format!("`{}` again", field.name);
                reader.error(
                    ErrorKind::Duplicate,
                    field.name_span.clone(),
                    "duplicate field",
                    found,
                    "each field once",
                );
            }
        }
    }
}

/// At most 40 characters of a text, for messages.
pub(super) fn brief(text: &str) -> String {
    let line = text.lines().next().unwrap_or("");
    if line.chars().count() <= 40 { line.to_string() } else { line.chars().take(39).chain(['…']).collect() }
}
