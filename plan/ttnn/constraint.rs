//! Constraints as data: each is declared once, beside the rule that asks for it, and a broken one carries what broke it.
//!
//! A rule file begins with its list, written with [`constraints!`]: a name, a plain statement of what must hold, TT-NN's own text when it
//! does not hold, and a hint at what would be right. Texts and hints name the values they show in braces; the rule hands these over with
//! [`values!`] and they are only made into text when somebody reads it. People and programs refer to a constraint by its id, which is the
//! name of the rule and the constraint's own name in lower case: `rms_norm.gamma_width`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::units::bytes;
use crate::{Cores, DType, Layout, MemoryConfig, TensorSpec};

/// Who demands that a constraint holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// TT-NN refuses the call otherwise: the file or function that does.
    Ttnn(&'static str),
    /// A limit of bitnetc's own, and its reason. TT-NN may take the call; nothing is said of what it does then.
    Bitnetc(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Ttnn(file) => write!(f, "TT-NN: {file}"),
            Source::Bitnetc(reason) => write!(f, "bitnetc: {reason}"),
        }
    }
}

/// Something that must hold for a call to be legal.
#[derive(Debug, PartialEq, Eq)]
pub struct Constraint {
    /// The rule, or the group of constraints that several rules share.
    pub rule: &'static str,
    /// The constraint's name, in upper case.
    pub name: &'static str,
    /// Who demands it.
    pub source: Source,
    /// The statement that must hold, in plain words.
    pub holds: &'static str,
    /// TT-NN's words when it does not hold, or bitnetc's where TT-NN has none; `{name}` stands for a value.
    pub text: &'static str,
    /// A hint at the right values; `{name}` stands for a value.
    pub hint: &'static str,
}

impl Constraint {
    /// `rms_norm.gamma_width`.
    pub fn id(&self) -> String {
        format!("{}.{}", self.rule, self.name.to_lowercase())
    }
}

/// A value that takes part in a broken constraint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "ViolationValue")]
pub enum Value {
    /// A size or a count.
    Number(u64),
    /// Anything else, as plans print it.
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(number) => write!(f, "{number}"),
            Value::Text(text) => f.write_str(text),
        }
    }
}

/// A number of bytes that is told in the unit that suits it.
#[derive(Debug, Clone, Copy)]
pub struct Size(pub u64);

/// Types that can be shown in the text of a constraint.
pub trait Show {
    /// The value, made only when a constraint is broken.
    fn value(&self) -> Value;
}

impl<T: Show + ?Sized> Show for &T {
    fn value(&self) -> Value {
        (**self).value()
    }
}

macro_rules! show {
    ($($shown:ty),* => |$value:ident| $made:expr) => {
        $(impl Show for $shown {
            fn value(&self) -> Value {
                let $value = self;
                $made
            }
        })*
    };
}

show!(u32 => |n| Value::Number(u64::from(*n)));
show!(u64 => |n| Value::Number(*n));
show!(Size => |size| Value::Text(bytes(size.0)));
show!(usize => |n| Value::Number(*n as u64));
show!(str, String, DType, Cores, MemoryConfig, TensorSpec => |shown| Value::Text(shown.to_string()));
show!(Layout, [u32], Vec<u32>, [u32; 2], (u32, u32) => |shown| Value::Text(format!("{shown:?}")));

/// Values by the names that a constraint's text and hint give them.
pub type Values<'a> = &'a [(&'static str, &'a dyn Show)];

/// A constraint that a call breaks, with the values that break it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub constraint: &'static Constraint,
    /// The values, by name.
    pub values: Vec<(&'static str, Value)>,
}

impl Violation {
    /// `constraint`, broken by `values`.
    pub fn new(constraint: &'static Constraint, values: Values<'_>) -> Self {
        Violation { constraint, values: values.iter().map(|(name, shown)| (*name, shown.value())).collect() }
    }

    /// The constraint's id.
    pub fn id(&self) -> String {
        self.constraint.id()
    }

    /// The constraint with the numbers that break it, in TT-NN's words where it has any.
    pub fn what(&self) -> String {
        fill(self.constraint.text, &self.values)
    }

    /// A hint at the right values.
    pub fn hint(&self) -> String {
        fill(self.constraint.hint, &self.values)
    }

    /// True for a limit of the rule's own: TT-NN may take the call, and nothing is said of what it does then.
    pub fn is_narrower(&self) -> bool {
        matches!(self.constraint.source, Source::Bitnetc(_))
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what())
    }
}

impl std::error::Error for Violation {}

/// A violation as tools read it.
#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "Violation")]
struct Told {
    /// The id of the constraint, by which `bitnetc rules` lists it.
    constraint: String,
    /// Where TT-NN says so, or why bitnetc is narrower.
    source: String,
    /// What was found.
    what: String,
    /// What would be right.
    hint: String,
    /// The values that break it, by their names.
    values: BTreeMap<String, Value>,
}

impl Serialize for Violation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Told {
            constraint: self.id(),
            source: self.constraint.source.to_string(),
            what: self.what(),
            hint: self.hint(),
            values: self.values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        }
        .serialize(serializer)
    }
}

impl schemars::JsonSchema for Violation {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Told::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Told::json_schema(generator)
    }
}

/// `template` with values for names in braces; doubled braces stand for themselves.
fn fill(template: &str, values: &[(&'static str, Value)]) -> String {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        filled.push_str(&rest[..at]);
        let name = rest[at + 1..].split_once('}').map(|(name, _)| name);
        match (&rest[at..].get(..2), name) {
            (Some("{{" | "}}"), _) => {
                filled.push_str(&rest[at..=at]);
                rest = &rest[at + 2..];
            }
            (_, Some(name)) => {
                let value = values.iter().find(|(known, _)| *known == name);
                filled.push_str(&value.map_or_else(|| format!("{{{name}}}"), |(_, value)| value.to_string()));
                rest = &rest[at + name.len() + 2..];
            }
            (_, None) => {
                filled.push_str(&rest[at..]);
                rest = "";
            }
        }
    }
    filled.push_str(rest);
    filled
}

/// Declares the constraints of a rule, and lists them: `OWN` holds those declared here and, in the file of a rule, `ALL` also
/// those of the shared files that it names after `also`.
///
/// A constraint's source is the file named at the top, another one after `in`, or, after `because`, the reason for a limit of bitnetc's own.
macro_rules! constraints {
    ($rule:literal, $file:literal $(, also [$($($shared:ident)::+),*])?;
     $($name:ident: $holds:literal $(because $reason:literal)? $(in $other:literal)? => $text:literal, $hint:literal;)*) => {
        $(pub(crate) static $name: $crate::ttnn::Constraint = $crate::ttnn::Constraint {
            rule: $rule,
            name: stringify!($name),
            source: $crate::ttnn::constraint::source!($file $(because $reason)? $(in $other)?),
            holds: $holds,
            text: $text,
            hint: $hint,
        };)*
        pub(crate) static OWN: &[&$crate::ttnn::Constraint] = &[$(&$name),*];
        $(pub(crate) static ALL: &[&[&$crate::ttnn::Constraint]] = &[OWN, $($crate::ttnn::$($shared)::+::OWN),*];)?
    };
}

macro_rules! source {
    ($file:literal) => {
        $crate::ttnn::Source::Ttnn($file)
    };
    ($file:literal in $other:literal) => {
        $crate::ttnn::Source::Ttnn($other)
    };
    ($file:literal because $reason:literal) => {
        $crate::ttnn::Source::Bitnetc($reason)
    };
}

/// Values by name: `values![block_w, cores = cores.len()]`.
macro_rules! values {
    (@ $name:ident) => { &$name as &dyn $crate::ttnn::Show };
    (@ $name:ident $value:expr) => { &$value as &dyn $crate::ttnn::Show };
    ($($name:ident $(= $value:expr)?),* $(,)?) => {
        &[$((stringify!($name), $crate::ttnn::constraint::values!(@ $name $($value)?))),*]
    };
}

pub(crate) use {constraints, source, values};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_take_values_and_keep_braces() {
        let values = [("a", Value::Number(7)), ("b", Value::Text("x{y}".into()))];
        assert_eq!(fill("{a} of {b}: {{32, 32}} {missing}", &values), "7 of x{y}: {32, 32} {missing}");
        assert_eq!(fill("open {", &values), "open {");
    }
}
