//! Reading the fields of a Hugging Face `config.json`, each with what stands for it when it is left out.

use super::Unsupported;
use serde_json::{Map, Value};
use std::fmt::Display;

/// A `config.json`.
///
/// Fields are read where they are used, through a `Reader`, because what an absent field means differs from class to class, and an
/// absent field differs from one that is null. Fields that transformers does not read for these classes are ignored here too.
#[derive(Debug, Clone)]
pub struct Config(Map<String, Value>);

impl Config {
    /// Reads a config's text.
    ///
    /// # Errors
    /// When it is not a JSON object.
    pub fn parse(text: &str) -> Result<Config, serde_json::Error> {
        serde_json::from_str(text).map(Config)
    }

    pub(super) fn reader(&self) -> Reader<'_> {
        Reader { fields: &self.0, within: String::new(), refused: Vec::new() }
    }
}

/// Reads one object of a config and collects everything that is refused, so that all of it is reported at once. Where a field is refused
/// a stand-in is returned, which is never used because the whole reading fails.
pub(super) struct Reader<'c> {
    fields: &'c Map<String, Value>,
    /// The object's path, ending in a dot; empty at the top.
    within: String,
    pub(super) refused: Vec<Unsupported>,
}

impl<'c> Reader<'c> {
    /// The field's value; absent when it is null, as optional fields are.
    pub(super) fn get(&self, field: &str) -> Option<&'c Value> {
        self.fields.get(field).filter(|value| !value.is_null())
    }

    /// Whether the object has the field, be it null.
    pub(super) fn names(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    /// All fields of the object that are not null.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'c String, &'c Value)> + use<'c> {
        self.fields.iter().filter(|(_, value)| !value.is_null())
    }

    /// Notes that a field has a value that no model file can say.
    pub(super) fn refuse(&mut self, field: &str, found: impl Display, supported: impl Display) {
        let field = format!("{}{field}", self.within);
        self.refused.push(Unsupported { field, found: found.to_string(), supported: supported.to_string() });
    }

    /// A whole number from 1; `absent` when it is left out, 0 for one that the class needs.
    pub(super) fn count(&mut self, field: &str, absent: usize) -> usize {
        let refused = match self.fields.get(field) {
            None if absent > 0 => return absent,
            None => "absent".to_string(),
            Some(value) => match value.as_u64().and_then(|n| usize::try_from(n).ok()) {
                Some(n) if n > 0 => return n,
                _ => shown(value),
            },
        };
        self.refuse(field, refused, "numbers from 1");
        1
    }

    /// A whole number from 1 that may be null.
    pub(super) fn optional_count(&mut self, field: &str) -> Option<usize> {
        self.get(field).map(|_| self.count(field, 1))
    }

    /// A number above 0; `absent` when it is left out.
    pub(super) fn number(&mut self, field: &str, absent: f64) -> f64 {
        match self.fields.get(field) {
            None => absent,
            Some(value) => match value.as_f64() {
                Some(n) if n > 0.0 && n.is_finite() => n,
                _ => {
                    self.refuse(field, shown(value), "a number above 0");
                    1.0
                }
            },
        }
    }

    /// A number above 0 that may be left out or null.
    pub(super) fn optional_number(&mut self, field: &str) -> Option<f64> {
        self.get(field).map(|_| self.number(field, 1.0))
    }

    /// True or false; false when it is left out or null, which Python takes for false.
    pub(super) fn flag(&mut self, field: &str) -> bool {
        match self.get(field) {
            None => false,
            Some(value) => value.as_bool().unwrap_or_else(|| {
                self.refuse(field, shown(value), "true or false");
                false
            }),
        }
    }

    /// Text that may be left out or null.
    pub(super) fn text(&mut self, field: &str) -> Option<&'c str> {
        let value = self.get(field)?;
        if value.as_str().is_none() {
            self.refuse(field, shown(value), "text");
        }
        value.as_str()
    }

    /// An object that may be left out, null or empty. What its reader refuses is to be given back with `take`.
    pub(super) fn object(&mut self, field: &str) -> Option<Reader<'c>> {
        let value = self.get(field)?;
        match value.as_object() {
            Some(fields) => {
                let within = format!("{}{field}.", self.within);
                (!fields.is_empty()).then_some(Reader { fields, within, refused: Vec::new() })
            }
            None => {
                self.refuse(field, shown(value), "an object");
                None
            }
        }
    }

    /// Text that may be left out, but not null.
    pub(super) fn needed_text(&mut self, field: &str) -> Option<&'c str> {
        if self.fields.get(field).is_some_and(Value::is_null) {
            self.refuse(field, "null", "text, or the field left out");
        }
        self.text(field)
    }

    /// Whether a field of this object was refused.
    pub(super) fn has_refused(&self, field: &str) -> bool {
        self.refused.iter().any(|refused| refused.field.strip_prefix(&self.within) == Some(field))
    }

    /// Takes over what the reader of an object refused.
    pub(super) fn take(&mut self, inner: Reader<'_>) {
        self.refused.extend(inner.refused);
    }
}

/// A value as an error shows it, cut short.
pub(super) fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => format!("`{text}`"),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    if text.chars().count() <= 60 { text } else { text.chars().take(57).chain("...".chars()).collect() }
}
