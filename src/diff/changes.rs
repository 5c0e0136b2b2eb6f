//! Two values of one kind compared field by field.

use serde::Serialize;
use serde_json::Value;

/// A field that two values have differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Change {
    /// The path to it, its parts joined by dots.
    pub field: String,
    /// In the first; `None` where it has no such field.
    pub a: Option<String>,
    /// In the second.
    pub b: Option<String>,
}

/// The fields in which `a` and `b` differ, in the order of `a`, then those that only `b` has. A list of plain values is one field.
pub fn between(a: &Value, b: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    compare("", Some(a), Some(b), &mut changes);
    changes
}

fn compare(field: &str, a: Option<&Value>, b: Option<&Value>, changes: &mut Vec<Change>) {
    if a == b {
        return;
    }
    let parts = |value: Option<&Value>| match value {
        Some(Value::Object(fields)) => Some(fields.clone()),
        _ => None,
    };
    let (Some(of_a), Some(of_b)) = (parts(a), parts(b)) else {
        changes.push(Change { field: field.to_owned(), a: a.map(text), b: b.map(text) });
        return;
    };
    let only_b = of_b.keys().filter(|key| !of_a.contains_key(*key));
    for key in of_a.keys().chain(only_b) {
        let inner = if field.is_empty() { key.clone() } else { format!("{field}.{key}") };
        compare(&inner, of_a.get(key), of_b.get(key), changes);
    }
}

/// A value as it stands in a cell of a table.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| match value {
                Value::Null => key.clone(),
                value => format!("{key}: {}", text(value)),
            });
            format!("({})", fields.collect::<Vec<_>>().join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn change(field: &str, a: Option<&str>, b: Option<&str>) -> Change {
        Change { field: field.into(), a: a.map(Into::into), b: b.map(Into::into) }
    }

    #[test]
    fn fields_that_differ_are_named_by_their_path() {
        let a = json!({"program": {"DramSharded": {"in0_block_w": 10, "per_core_N": 4}}, "dtype": "BF16", "x": 1});
        let b = json!({"program": {"DramSharded": {"in0_block_w": 5, "per_core_N": 4}}, "dtype": "BF16", "y": [1, 2]});
        let expected = [
            change("program.DramSharded.in0_block_w", Some("10"), Some("5")),
            change("x", Some("1"), None),
            change("y", None, Some("[1, 2]")),
        ];
        assert_eq!(between(&a, &b), expected);
        assert_eq!(between(&a, &a), []);
        let other = json!({"program": "Auto", "dtype": "BF16", "x": 1});
        assert_eq!(between(&a, &other).len(), 1);
    }
}
