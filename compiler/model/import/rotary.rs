//! The rotary embedding of a config: base and long-context rule, in the older spelling (`rope_theta` and `rope_scaling`) and in the newer
//! one (`rope_parameters`, with the base inside).
//!
//! transformers 5 reads `rope_scaling` before `rope_parameters` and a base inside before one outside; 4.57 knows `rope_parameters` not at
//! all and reads the base outside only. So two places that disagree mean different functions to different readers and are refused.

use super::config::{Reader, shown};
use super::settings::Architecture;
use crate::graph::RopeScaling;

/// How queries and keys rotate.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rotary {
    /// Base of the frequencies.
    pub theta: f64,
    /// Long-context rule.
    pub scaling: RopeScaling,
}

/// The fields outside of their own object that the rules of rotary embedding read.
struct Around {
    architecture: Architecture,
    context: usize,
    /// `original_max_position_embeddings` beside the object.
    original: Option<usize>,
    /// `rope_theta` beside the object.
    theta: Option<f64>,
}

/// Reads the rotary embedding.
pub(super) fn read(reader: &mut Reader<'_>, architecture: Architecture, context: usize) -> Rotary {
    let theta = reader.names("rope_theta").then(|| reader.number("rope_theta", 1.0));
    let original = reader.optional_count("original_max_position_embeddings");
    let original = original.or((architecture == Architecture::Phi3).then_some(4096));
    let share = reader.number("partial_rotary_factor", 1.0);
    if share != 1.0 {
        reader.refuse("partial_rotary_factor", share, "1.0");
    }
    let around = Around { architecture, context, original, theta };
    let places = ["rope_scaling", "rope_parameters"];
    let [older, newer] = places.map(|place| {
        let mut inner = reader.object(place)?;
        let rotary = rotary(&mut inner, reader, place, &around);
        reader.take(inner);
        Some(rotary)
    });
    if older.is_some() && newer.is_some() && older != newer {
        reader.refuse(places[0], "another rule or base than `rope_parameters`", "one of the two, or both alike");
    }
    older.or(newer).unwrap_or(Rotary { theta: theta.unwrap_or(architecture.theta()), scaling: RopeScaling::None })
}

/// Reads one object; `outer` takes what concerns the object as a whole.
fn rotary(reader: &mut Reader<'_>, outer: &mut Reader<'_>, place: &str, around: &Around) -> Rotary {
    let inside = reader.optional_number("rope_theta");
    if let (Some(inside), Some(beside)) = (inside, around.theta)
        && inside != beside
    {
        reader.refuse("rope_theta", format!("{inside:?} and `rope_theta` beside it {beside:?}"), "one base");
    }
    let theta = inside.or(around.theta).unwrap_or(around.architecture.theta());
    let share = reader.number("partial_rotary_factor", 1.0);
    if share != 1.0 {
        reader.refuse("partial_rotary_factor", share, "1.0");
    }
    if let Some((name, _)) = reader.all().find(|(_, value)| value.is_object()) {
        reader.refuse(name, "an object", "one rule for every layer");
    }
    let scaling = scaling(reader, outer, place, around);
    Rotary { theta, scaling: scaling.unwrap_or(RopeScaling::None) }
}

/// The long-context rule of an object, or nothing when it is refused.
fn scaling(reader: &mut Reader<'_>, outer: &mut Reader<'_>, place: &str, around: &Around) -> Option<RopeScaling> {
    let phi = around.architecture == Architecture::Phi3;
    // Phi-3's class takes the names under which LongRoPE was first published for its own.
    let known = |name| if phi && ["su", "yarn"].contains(&name) { "longrope" } else { name };
    let (newer, older) = (reader.text("rope_type").map(known), reader.text("type").map(known));
    if let (Some(newer), Some(older)) = (newer, older)
        && newer != older
    {
        reader.refuse("rope_type", format!("`{newer}` and `type` beside it `{older}`"), "one rule");
    }
    let Some(kind) = newer.or(older) else {
        // Without a name 5 takes no rule at all and 4.57 fails.
        if let Some((field, value)) = reader.all().find(|(field, _)| NUMBERS.contains(&field.as_str())) {
            let found = format!("absent though there is `{field}`: {}", shown(value));
            reader.refuse("rope_type", found, "the name of a rule");
        }
        return Some(RopeScaling::None);
    };
    let supported = match around.architecture {
        Architecture::Phi3 => "default, longrope",
        Architecture::OneBit => "default",
        Architecture::BitNet | Architecture::Llama => "default, linear, dynamic, llama3, longrope",
    };
    if !supported.split(", ").any(|rule| rule == kind) {
        outer.refuse(place, format!("`{kind}`"), supported);
        return None;
    }
    let needed = |reader: &mut Reader<'_>, field: &str| {
        let number = reader.optional_number(field);
        if number.is_none() {
            reader.refuse(field, "absent", format!("a number, which `{kind}` needs"));
        }
        number
    };
    match kind {
        "default" => Some(RopeScaling::None),
        "linear" => needed(reader, "factor").map(|factor| RopeScaling::Linear { factor }),
        // The base grows with the length of a sequence once it is past max_position_embeddings, where the model's context ends.
        "dynamic" => needed(reader, "factor").map(|_| RopeScaling::None),
        "llama3" => {
            let (factor, low) = (needed(reader, "factor"), needed(reader, "low_freq_factor"));
            let high = needed(reader, "high_freq_factor");
            let original_context = original(reader, around);
            Some(RopeScaling::Llama3 {
                factor: factor?,
                low_freq_factor: low?,
                high_freq_factor: high?,
                original_context,
            })
        }
        _ => longrope(reader, around),
    }
}

/// Fields of a rule that change what it computes.
const NUMBERS: [&str; 8] = [
    "factor",
    "low_freq_factor",
    "high_freq_factor",
    "original_max_position_embeddings",
    "short_factor",
    "long_factor",
    "attention_factor",
    "beta_fast",
];

/// The context of the original training. Where no place names it, it is the model's.
fn original(reader: &mut Reader<'_>, around: &Around) -> usize {
    let inside = reader.optional_count("original_max_position_embeddings");
    if let (Some(inside), Some(beside)) = (inside, around.original)
        && inside != beside
    {
        let found = format!("{inside} and the one beside it {beside}");
        reader.refuse("original_max_position_embeddings", found, "one number");
    }
    inside.or(around.original).unwrap_or(around.context)
}

fn longrope(reader: &mut Reader<'_>, around: &Around) -> Option<RopeScaling> {
    let original_context = original(reader, around);
    let [short, long] = ["short_factor", "long_factor"].map(|field| {
        let value = reader.get(field);
        let list = value.and_then(|v| v.as_array()?.iter().map(|v| v.as_f64()).collect::<Option<Vec<_>>>());
        if list.is_none() {
            let found = value.map_or("absent".to_string(), shown);
            reader.refuse(field, found, "a list of numbers, which `longrope` needs");
        }
        list
    });
    let ratio = around.context as f64 / original_context as f64;
    let (factor, attention) = (reader.optional_number("factor"), reader.optional_number("attention_factor"));
    if let (Some(factor), None) = (factor, attention)
        && (factor - ratio).abs() > 1e-6 * ratio
    {
        let found = format!("{factor:?} where the contexts' ratio is {ratio:?}");
        reader.refuse("factor", found, "the ratio, or attention_factor beside it");
    }
    // Hugging Face's default when the config names no attention factor.
    let default = if ratio <= 1.0 { 1.0 } else { (1.0 + ratio.ln() / (original_context as f64).ln()).sqrt() };
    Some(RopeScaling::LongRope {
        short: short?,
        long: long?,
        original_context,
        attention_factor: attention.unwrap_or(default),
    })
}
