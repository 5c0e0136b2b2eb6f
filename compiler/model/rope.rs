//! Reading a rotary embedding and its long-context rule.

use super::error::ErrorKind;
use super::reader::{FACTORS, Fields, Reader, brief};
use super::syntax::Raw;
use crate::graph::{Rope, RopeScaling};

pub(super) fn rope<'a>(reader: &mut Reader<'a>, fields: &mut Fields<'a>) -> Option<Rope> {
    let theta = fields
        .required(reader, "theta")
        .and_then(|raw| reader.number(raw, [1.0, 1e12], "the base of the frequencies, such as 500000.0"));
    let dim_raw = fields.required(reader, "dim");
    let dim = dim_raw.and_then(|raw| reader.dim(raw));
    let scaling = match fields.optional("scaling") {
        Some(raw) => scaling(reader, raw),
        None => Some(RopeScaling::None),
    };
    let (theta, dim, dim_raw, scaling) = (theta?, dim?, dim_raw?, scaling?);
    if dim % 2 != 0 {
        let found = format!("{dim} rotated dimensions");
        reader.error(
            ErrorKind::Division,
            dim_raw.span(),
            "pairs need an even number",
            found,
            "an even number up to head_dim",
        );
        return None;
    }
    if let RopeScaling::LongRope { short, long, .. } = &scaling {
        for factors in [short, long] {
            if factors.len() != dim / 2 {
                let found = format!("{} factors for {dim} rotated dimensions", factors.len());
                let expected = format!("{} factors, one per pair", dim / 2);
                reader.error(ErrorKind::Shape, dim_raw.span(), "frequency factors do not fit", found, expected);
                return None;
            }
        }
    }
    Some(Rope { theta, dim, scaling })
}

fn scaling<'a>(reader: &mut Reader<'a>, raw: Raw<'a>) -> Option<RopeScaling> {
    let name = raw.name();
    if raw.text() == "None" {
        return Some(RopeScaling::None);
    }
    if !["Linear", "Llama3", "Yarn", "LongRope"].contains(&name) {
        let expected = "None, Linear(..), Llama3(..), Yarn(..) or LongRope(..)";
        reader.error(
            ErrorKind::UnknownName,
            raw.name_span(),
            "unknown name",
            format!("`{}`", brief(raw.text())),
            expected,
        );
        return None;
    }
    let mut fields = reader.fields(raw, name)?;
    let mut number = |reader: &mut Reader<'a>, field| {
        fields.required(reader, field).and_then(|raw| reader.number(raw, FACTORS, "a factor"))
    };
    let read = match name {
        "Linear" => number(reader, "factor").map(|factor| RopeScaling::Linear { factor }),
        "Llama3" => {
            let factor = number(reader, "factor");
            let low = number(reader, "low_freq_factor");
            let high = number(reader, "high_freq_factor");
            let original = fields.required(reader, "original_context").and_then(|raw| reader.dim(raw));
            if low.zip(high).is_some_and(|(low, high)| low >= high) {
                let expected = "low_freq_factor below high_freq_factor";
                reader.error(
                    ErrorKind::BadValue,
                    raw.span(),
                    "frequency bounds out of order",
                    "no band between them",
                    expected,
                );
                return None;
            }
            (|| {
                Some(RopeScaling::Llama3 {
                    factor: factor?,
                    low_freq_factor: low?,
                    high_freq_factor: high?,
                    original_context: original?,
                })
            })()
        }
        "Yarn" => {
            let (factor, attention_factor) = (number(reader, "factor"), number(reader, "attention_factor"));
            let (beta_fast, beta_slow) = (number(reader, "beta_fast"), number(reader, "beta_slow"));
            let original = fields.required(reader, "original_context").and_then(|raw| reader.dim(raw));
            let truncate = match fields.optional("truncate") {
                Some(raw) => reader.word(raw, "whether bounds are rounded", &[("true", true), ("false", false)]),
                None => Some(true),
            };
            (|| {
                Some(RopeScaling::Yarn {
                    factor: factor?,
                    beta_fast: beta_fast?,
                    beta_slow: beta_slow?,
                    original_context: original?,
                    attention_factor: attention_factor?,
                    truncate: truncate?,
                })
            })()
        }
        _ => {
            let attention_factor = number(reader, "attention_factor");
            let original = fields.required(reader, "original_context").and_then(|raw| reader.dim(raw));
            let short = fields.required(reader, "short").and_then(|raw| numbers(reader, raw));
            let long = fields.required(reader, "long").and_then(|raw| numbers(reader, raw));
            (|| {
                Some(RopeScaling::LongRope {
                    short: short?,
                    long: long?,
                    original_context: original?,
                    attention_factor: attention_factor?,
                })
            })()
        }
    };
    fields.finish(reader);
    read
}

fn numbers<'a>(reader: &mut Reader<'a>, raw: Raw<'a>) -> Option<Vec<f64>> {
    let items = reader.list(raw, "a list of numbers")?;
    items.into_iter().map(|item| reader.number(item, FACTORS, "a factor")).collect()
}
