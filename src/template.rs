//! Chat templates: Jinja, with what transformers puts into their environment.
//!
//! transformers renders with `trim_blocks` and `lstrip_blocks`, loop controls, a tag `generation` that marks what a model is trained on, a
//! `tojson` that is Python's `json.dumps`, `raise_exception` and `strftime_now`; `tools` and `documents` are none where there are none.

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Value, context};

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: &'static str,
    /// What was said.
    pub content: String,
}

/// Steps of a chat template, far more than a conversation takes: a template may loop without end.
const MOST_STEPS: u64 = 10_000_000;

/// The text of a conversation, up to where the answer begins. `special` are names of special tokens, such as `bos_token`, and their texts.
///
/// # Errors
/// A template that does not parse or that refuses the conversation.
pub fn render(template: &str, special: &[(String, String)], messages: &[Message]) -> Result<String, Error> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(MOST_STEPS));
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    minijinja_contrib::add_to_environment(&mut environment);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    // Python's words for what the language has.
    environment.set_formatter(|out, state, value| match value.kind() {
        ValueKind::None | ValueKind::Bool | ValueKind::Seq | ValueKind::Map => {
            out.write_str(&python(value)?).map_err(Error::from)
        }
        _ => minijinja::escape_formatter(out, state, value),
    });
    environment.add_function("raise_exception", |why: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, why))
    });
    environment.add_function("strftime_now", |format: String| {
        jiff::fmt::strtime::format(&format, &jiff::ZonedDateTime::now()).map_err(|error| {
            Error::new(ErrorKind::InvalidOperation, format!("strftime_now cannot write `{format}`: {error}"))
        })
    });
    environment.add_filter("tojson", tojson);
    for (name, token) in special {
        environment.add_global(name.clone(), token.clone());
    }
    let message = |m: &Message| Value::from_iter([("role", m.role), ("content", m.content.as_str())]);
    let messages: Vec<Value> = messages.iter().map(message).collect();
    let template = without_generation(template);
    environment.add_template("chat", &template)?;
    let (tools, documents) = (Value::from(()), Value::from(()));
    environment.get_template("chat")?.render(context! { messages, tools, documents, add_generation_prompt => true })
}

/// A value as Python writes it inside a list.
fn python(value: &Value) -> Result<String, Error> {
    Ok(match value.kind() {
        ValueKind::None => "None".into(),
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.into(),
        ValueKind::Seq => {
            let items = value.try_iter()?.map(|item| python(&item)).collect::<Result<Vec<_>, _>>()?;
            format!("[{}]", items.join(", "))
        }
        ValueKind::Map => {
            let pair = |key: Value| Ok(format!("{}: {}", python(&key)?, python(&value.get_item(&key)?)?));
            let pairs = value.try_iter()?.map(pair).collect::<Result<Vec<_>, Error>>()?;
            format!("{{{}}}", pairs.join(", "))
        }
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
            let mut out = String::from(quote);
            for c in text.chars() {
                match c {
                    '\n' => out.push_str("\\n"),
                    '\r' => out.push_str("\\r"),
                    '\t' => out.push_str("\\t"),
                    c if c == quote || c == '\\' => out.extend(['\\', c]),
                    c => out.push(c),
                }
            }
            out.push(quote);
            out
        }
        _ => value.to_string(),
    })
}

/// The tags `generation` and `endgeneration` as blocks that minijinja knows and that have a scope as those have.
fn without_generation(template: &str) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        out.push_str(before);
        rest = tag;
        let Some(end) = tag.find("%}") else { break };
        let (inside, after) = tag.split_at(end);
        let word = inside.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim();
        let block = match word {
            "generation" => "with",
            "endgeneration" => "endwith",
            _ => continue,
        };
        out.push_str(&inside.replace(word, block));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Python's `json.dumps(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
fn tojson(value: Value, positional: Rest<Value>, named: Kwargs) -> Result<String, Error> {
    let argument = |at: usize, name: &str| -> Result<Value, Error> {
        let named: Option<Value> = named.get(name)?;
        let value = named.or_else(|| positional.get(at).cloned());
        Ok(value.unwrap_or_default())
    };
    let [ascii, indent, separators, sort] =
        [(0, "ensure_ascii"), (1, "indent"), (2, "separators"), (3, "sort_keys")].map(|(at, name)| argument(at, name));
    let (ascii, indent, separators, sort) = (ascii?.is_true(), indent?, separators?, sort?.is_true());
    named.assert_all_used()?;
    let indent = match (indent.as_str(), indent.as_i64()) {
        (Some(text), _) => Some(text.to_string()),
        (None, Some(spaces)) => Some(" ".repeat(spaces.clamp(0, 64) as usize)),
        (None, None) => None,
    };
    let separator = |at: usize| separators.get_item_by_index(at).ok()?.as_str().map(str::to_string);
    let comma = separator(0).unwrap_or_else(|| if indent.is_some() { "," } else { ", " }.into());
    let colon = separator(1).unwrap_or_else(|| ": ".into());
    let mut out = String::new();
    Json { ascii, indent, comma, colon, sort }.write(&mut out, &value, 0)?;
    Ok(out)
}

struct Json {
    ascii: bool,
    indent: Option<String>,
    comma: String,
    colon: String,
    sort: bool,
}

impl Json {
    fn write(&self, out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
        match value.kind() {
            ValueKind::Undefined => {
                Err(Error::new(ErrorKind::InvalidOperation, "tojson of a value that is not defined"))
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort {
                    keys.sort();
                }
                self.list(out, ['{', '}'], depth, keys, |json, out, key| {
                    json.text(out, &key.to_string());
                    out.push_str(&json.colon);
                    json.write(out, &value.get_item(&key)?, depth + 1)
                })
            }
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter()?.collect();
                self.list(out, ['[', ']'], depth, items, |json, out, item| json.write(out, &item, depth + 1))
            }
            ValueKind::String => {
                self.text(out, value.as_str().unwrap_or_default());
                Ok(())
            }
            _ => {
                let text = serde_json::to_string(value);
                out.push_str(&text.map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?);
                Ok(())
            }
        }
    }

    fn list(
        &self,
        out: &mut String,
        [open, close]: [char; 2],
        depth: usize,
        items: Vec<Value>,
        mut write: impl FnMut(&Json, &mut String, Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let line = |out: &mut String, depth: usize| {
            if let Some(indent) = &self.indent {
                out.push('\n');
                out.push_str(&indent.repeat(depth));
            }
        };
        let empty = items.is_empty();
        out.push(open);
        for (at, item) in items.into_iter().enumerate() {
            if at > 0 {
                out.push_str(&self.comma);
            }
            line(out, depth + 1);
            write(self, out, item)?;
        }
        if !empty {
            line(out, depth);
        }
        out.push(close);
        Ok(())
    }

    fn text(&self, out: &mut String, text: &str) {
        use std::fmt::Write as _;
        out.push('"');
        for c in text.chars() {
            // Writing to a String cannot fail.
            let _ = match c {
                '"' => out.write_str("\\\""),
                '\\' => out.write_str("\\\\"),
                '\n' => out.write_str("\\n"),
                '\r' => out.write_str("\\r"),
                '\t' => out.write_str("\\t"),
                '\u{8}' => out.write_str("\\b"),
                '\u{c}' => out.write_str("\\f"),
                c if (c as u32) < 0x20 => write!(out, "\\u{:04x}", c as u32),
                c if self.ascii && !c.is_ascii() => {
                    c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(out, "\\u{unit:04x}"))
                }
                c => out.write_char(c),
            };
        }
        out.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(turns: &[(&'static str, &str)]) -> Vec<Message> {
        turns.iter().map(|(role, content)| Message { role, content: content.to_string() }).collect()
    }

    fn written(template: &str) -> String {
        render(template, &[], &messages(&[("user", "x")])).unwrap()
    }

    #[test]
    fn templates_as_checkpoints_write_them() {
        let template = "{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}\
            {% if message['role'] == 'user' %}{{ 'Human: ' + message['content'].strip() + '\\n\\nAssistant: ' }}\
            {% else %}{{ message['role'] | capitalize + ': ' + message['content'] | trim + eos_token }}{% endif %}\
            {% endfor %}{% if not add_generation_prompt %}{{ raise_exception('no') }}{% endif %}";
        let special = [("bos_token", "<s>"), ("eos_token", "</s>")].map(|(a, b)| (a.to_string(), b.to_string()));
        let text = render(template, &special, &messages(&[("system", "Be brief. "), ("user", " Hi ")])).unwrap();
        assert_eq!(text, "<s>System: Be brief.</s>Human: Hi\n\nAssistant: ");
        let template = "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}\
            {%- generation -%} {{ m.content | tojson }} {%- endgeneration -%}{% endfor %}";
        assert_eq!(render(template, &[], &messages(&[("system", "x"), ("user", "a\"b")])).unwrap(), "\"a\\\"b\"");
        let error = render("{{ raise_exception('roles must alternate') }}", &[], &[]).unwrap_err();
        assert!(error.to_string().contains("roles must alternate"));
    }

    #[test]
    fn the_date_is_todays() {
        let year = written("{{ strftime_now('%Y') }}");
        assert!(year.len() == 4 && year.parse::<u32>().is_ok_and(|year| year > 2024), "{year}");
        let long = written("{{ strftime_now('%d %b %Y, %A %-d %B %H:%M:%S') }}");
        assert!(long.contains(&year) && long.split(' ').count() == 7, "{long}");
    }

    /// Templates as checkpoints have them, and what transformers writes with them.
    #[test]
    fn transformers_writes_the_same() {
        let file: serde_json::Value =
            serde_json::from_str(include_str!("../tests/checkpoints/templates.json")).unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_string();
        let special: Vec<_> = file["special"].as_object().unwrap().iter().map(|(k, v)| (k.clone(), text(v))).collect();
        let role = |name: &str| ["system", "user", "assistant"].into_iter().find(|role| *role == name).unwrap();
        let found = file["found"].as_array().unwrap();
        let wrong: Vec<String> = found
            .iter()
            .filter_map(|found| {
                let message =
                    |m: &serde_json::Value| Message { role: role(&text(&m["role"])), content: text(&m["content"]) };
                let messages: Vec<_> = found["messages"].as_array().unwrap().iter().map(message).collect();
                let written =
                    render(&text(&found["template"]), &special, &messages).unwrap_or_else(|e| format!("{e:#}"));
                (written != text(&found["text"]))
                    .then(|| format!("{}\n  we {written:?}\n  it {:?}", found["template"], text(&found["text"])))
            })
            .collect();
        assert!(wrong.is_empty() && found.len() > 16, "{}", wrong.join("\n\n"));
    }

    /// What Python's `json.dumps` writes, with the arguments of transformers' filter.
    #[test]
    fn json_is_pythons() {
        for (template, text) in [
            ("{{ messages[0] | tojson }}", r#"{"role": "user", "content": "x"}"#),
            ("{{ messages[0] | tojson(sort_keys=true) }}", r#"{"content": "x", "role": "user"}"#),
            (
                "{{ {'a': [1, 2.5, none, true], 'b': {}, 'c': []} | tojson }}",
                r#"{"a": [1, 2.5, null, true], "b": {}, "c": []}"#,
            ),
            ("{{ [1, {'a': 2}] | tojson(indent=2) }}", "[\n  1,\n  {\n    \"a\": 2\n  }\n]"),
            ("{{ [1, {'a': 2}] | tojson(separators=(',', ':')) }}", r#"[1,{"a":2}]"#),
            ("{{ '<é\\n☃😀\\'&>' | tojson }}", "\"<é\\n☃😀'&>\""),
            ("{{ 'é😀' | tojson(ensure_ascii=true) }}", "\"\\u00e9\\ud83d\\ude00\""),
        ] {
            assert_eq!(written(template), text, "{template}");
        }
    }

    #[test]
    fn names_and_words_are_those_of_transformers() {
        for (template, text) in [
            // As Jinja's undefined is not none, templates ask what is none when nothing is given.
            ("{% if tools is not none %}tools{% else %}no{% endif %}", "no"),
            ("{% if documents %}documents{% endif %}{{ tools }}", "None"),
            ("{{ true }} {{ 1 == 2 }}", "True False"),
            ("a\n    {% if true %}\nb\n    {% endif %}\nc\n", "a\nb\nc"),
            ("{% generation %}{% set x = 1 %}{{ x }}{%endgeneration%}{{ x }}", "1"),
            (
                "{%- set ns = namespace(n=0) -%}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
                "1",
            ),
            ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
            ("{{ messages[0].get('role').upper() }} {{ messages[0]['name'] is defined }}", "USER False"),
            ("{{ messages[-1]['content'].split('x') | length }}{{ messages[1:] | length }}", "20"),
        ] {
            assert_eq!(written(template), text, "{template}");
        }
    }
}
