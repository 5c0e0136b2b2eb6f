//! RON parsed one level at a time, so that every piece knows its place in the file.
//!
//! ron reports a position only for the first error it meets. Most mistakes in a model file are in well-formed RON, and all of them are to
//! be reported together. So a file is opened level by level: [`Raw::open`] lets ron parse one value, whose children are ron's `RawValue`s.
//! These are borrowed slices of the file, and their addresses give their positions.

use ron::value::RawValue;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::ops::Range;

/// A piece of the file that holds one RON value, without the space around it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raw<'a> {
    file: &'a str,
    text: &'a str,
}

/// A field of a struct or an entry of a map.
#[derive(Debug, Clone)]
pub(super) struct Field<'a> {
    pub name: String,
    pub name_span: Range<usize>,
    pub value: Raw<'a>,
}

/// The content of a piece, with its children not yet parsed.
#[derive(Debug, Clone)]
pub(super) enum Tree<'a> {
    /// `Name(field: value, ..)` or `(field: value, ..)`, or `{"key": value, ..}`.
    Fields(Vec<Field<'a>>),
    /// `[value, ..]`, `Name(value, ..)`, `(value, ..)`.
    Items(Vec<Raw<'a>>),
    Text(String),
    Number(f64),
    /// `Name`, `()`, `true`, `false` or `None`, which the text tells apart.
    Word,
}

/// Text that ron cannot parse.
#[derive(Debug, Clone)]
pub(super) struct Broken {
    pub span: Range<usize>,
    pub message: String,
}

impl<'a> Raw<'a> {
    /// The whole file as one value.
    pub fn file(file: &'a str) -> Result<Self, Broken> {
        let whole = Raw { file, text: file };
        let deserializer = ron::Deserializer::from_str(file).map_err(|e| whole.broken(&e))?;
        if !deserializer.extensions().is_empty() {
            return Err(Broken {
                span: 0..file.find('\n').unwrap_or(file.len()),
                message: "RON extensions are not used here".into(),
            });
        }
        ron::from_str::<IgnoredAny>(file).map_err(|e| whole.broken(&e))?;
        Ok(whole.trimmed())
    }

    /// Bytes of the file this value takes.
    pub fn span(&self) -> Range<usize> {
        let start = (self.text.as_ptr() as usize).saturating_sub(self.file.as_ptr() as usize);
        start..start + self.text.len()
    }

    /// The text itself.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The name before the parenthesis: `Add` in `Add(..)`, `Relu` in `Relu`; empty when there is none.
    pub fn name(&self) -> &'a str {
        let end = self.text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(self.text.len());
        &self.text[..end]
    }

    /// Bytes of [`Raw::name`], or of the first character.
    pub fn name_span(&self) -> Range<usize> {
        let start = self.span().start;
        let first = self.text.chars().next().map_or(0, char::len_utf8);
        start..start + self.name().len().max(first)
    }

    /// Opens one level.
    pub fn open(&self) -> Result<Tree<'a>, Broken> {
        let shallow: Shallow<'a> = ron::from_str(self.text).map_err(|e| self.broken(&e))?;
        Ok(match shallow {
            Shallow::Fields(fields) => {
                let mut from = self.span().start;
                let mut named = Vec::with_capacity(fields.len());
                for (name, raw) in fields {
                    let value = self.child(raw);
                    let at = value.span().start;
                    let start = self.file.get(from..at).and_then(|before| before.rfind(&name)).map_or(at, |i| from + i);
                    let name_span = start..(start + name.len()).min(at.max(start));
                    from = value.span().end;
                    named.push(Field { name, name_span, value });
                }
                Tree::Fields(named)
            }
            Shallow::Items(items) => Tree::Items(items.into_iter().map(|raw| self.child(raw)).collect()),
            Shallow::Text(text) => Tree::Text(text),
            Shallow::Number(number) => Tree::Number(number),
            Shallow::Word => Tree::Word,
        })
    }

    fn child(&self, raw: &'a RawValue) -> Raw<'a> {
        Raw { file: self.file, text: raw.get_ron() }.trimmed()
    }

    /// Without leading and trailing space and comments.
    fn trimmed(self) -> Raw<'a> {
        let mut text = self.text;
        loop {
            text = text.trim_start();
            if text.starts_with("//") {
                text = text.find('\n').map_or("", |end| &text[end..]);
            } else if text.starts_with("/*") {
                text = after_block_comment(text);
            } else {
                break;
            }
        }
        let mut value = ron::Deserializer::from_str(text).ok();
        let rest = value.as_mut().and_then(|d| IgnoredAny::deserialize(&mut *d).ok().map(|_| d.remainder().len()));
        let end = text.len() - rest.unwrap_or(0);
        Raw { file: self.file, text: text[..end].trim_end() }
    }

    fn broken(&self, error: &ron::error::SpannedError) -> Broken {
        let base = self.span().start;
        let start = base + offset(self.text, error.span.start.line, error.span.start.col);
        let end = base + offset(self.text, error.span.end.line, error.span.end.col);
        Broken { span: start..end.max(start), message: error.code.to_string() }
    }
}

fn after_block_comment(text: &str) -> &str {
    let mut depth = 0_usize;
    let bytes = text.as_bytes();
    let mut at = 0;
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return &text[at..];
        }
    }
    ""
}

/// Byte offset of a line and column, both counted in characters from 1.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let start = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum::<usize>().min(text.len());
    let rest = &text[start..];
    start + rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(at, _)| at)
}

enum Shallow<'a> {
    Fields(Vec<(String, &'a RawValue)>),
    Items(Vec<&'a RawValue>),
    Text(String),
    Number(f64),
    Word,
}

impl<'de: 'a, 'a> Deserialize<'de> for Shallow<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShallowVisitor(std::marker::PhantomData))
    }
}

struct ShallowVisitor<'a>(std::marker::PhantomData<&'a ()>);

impl<'de: 'a, 'a> Visitor<'de> for ShallowVisitor<'a> {
    type Value = Shallow<'a>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a struct, list, map, text or number")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shallow<'a>, A::Error> {
        let mut fields = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            fields.push((name, map.next_value::<&'de RawValue>()?));
        }
        Ok(Shallow::Fields(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shallow<'a>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<&'de RawValue>()? {
            items.push(item);
        }
        Ok(Shallow::Items(items))
    }

    fn visit_str<E>(self, text: &str) -> Result<Shallow<'a>, E> {
        Ok(Shallow::Text(text.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Shallow<'a>, E> {
        Ok(Shallow::Number(number as f64))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Shallow<'a>, E> {
        Ok(Shallow::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Shallow<'a>, E> {
        Ok(Shallow::Number(number))
    }

    fn visit_char<E>(self, letter: char) -> Result<Shallow<'a>, E> {
        Ok(Shallow::Text(letter.to_string()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Shallow<'a>, E> {
        Ok(Shallow::Word)
    }

    fn visit_unit<E>(self) -> Result<Shallow<'a>, E> {
        Ok(Shallow::Word)
    }

    fn visit_none<E>(self) -> Result<Shallow<'a>, E> {
        Ok(Shallow::Word)
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Shallow<'a>, D::Error> {
        Ok(Shallow::Items(vec![<&'de RawValue>::deserialize(inner)?]))
    }
}
