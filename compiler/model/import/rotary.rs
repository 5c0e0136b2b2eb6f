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
    /// The part of each head that turns.
    pub share: f64,
}

impl Rotary {
    /// Leading elements of a head that turn.
    pub(super) fn dim(&self, head_dim: usize) -> usize {
        (head_dim as f64 * self.share) as usize
    }
}

/// The fields outside of their own object that the rules of rotary embedding read.
struct Around {
    architecture: Architecture,
    context: usize,
    /// `original_max_position_embeddings` beside the object.
    original: Option<usize>,
    /// `rope_theta` beside the object.
    theta: Option<f64>,
    /// `partial_rotary_factor` beside the object.
    share: Option<f64>,
}

/// Reads the rotary embedding.
pub(super) fn read(reader: &mut Reader<'_>, architecture: Architecture, context: usize) -> Rotary {
    let theta = reader.names("rope_theta").then(|| reader.number("rope_theta", 1.0));
    let original = reader.optional_count("original_max_position_embeddings");
    let original = original.or((architecture == Architecture::Phi3).then_some(4096));
    let share = share(reader, architecture);
    let around = Around { architecture, context, original, theta, share };
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
    older.or(newer).unwrap_or(Rotary {
        theta: theta.unwrap_or(architecture.theta()),
        scaling: RopeScaling::None,
        share: share.unwrap_or(1.0),
    })
}

/// The part of each head that turns, where it is said. Only Phi-3's class turns less than all: in the others 4.57 fails and 5 turns all.
fn share(reader: &mut Reader<'_>, architecture: Architecture) -> Option<f64> {
    let share = reader.optional_number("partial_rotary_factor")?;
    if share > 1.0 || (share != 1.0 && architecture != Architecture::Phi3) {
        let supported = if share > 1.0 { "up to 1.0" } else { "1.0: this class turns whole heads" };
        reader.refuse("partial_rotary_factor", share, supported);
    }
    Some(share)
}

/// Reads one object; `outer` takes what concerns the object as a whole.
fn rotary(reader: &mut Reader<'_>, outer: &mut Reader<'_>, place: &str, around: &Around) -> Rotary {
    let inside = reader.optional_number("rope_theta");
    if let (Some(inside), Some(beside)) = (inside, around.theta)
        && inside != beside
        && !(reader.has_refused("rope_theta") || outer.has_refused("rope_theta"))
    {
        reader.refuse("rope_theta", format!("{inside:?} and `rope_theta` beside it {beside:?}"), "one base");
    }
    let theta = inside.or(around.theta).unwrap_or(around.architecture.theta());
    let within = share(reader, around.architecture);
    if let (Some(within), Some(beside)) = (within, around.share)
        && within != beside
    {
        let found = format!("{within:?} and the one beside it {beside:?}");
        reader.refuse("partial_rotary_factor", found, "one number");
    }
    let share = within.or(around.share).unwrap_or(1.0);
    if let Some((name, _)) = reader.all().find(|(_, value)| value.is_object()) {
        reader.refuse(name, "an object", "one rule for every layer");
    }
    let scaling = scaling(reader, outer, place, around);
    Rotary { theta, scaling: scaling.unwrap_or(RopeScaling::None), share }
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
        Architecture::BitNet | Architecture::Llama | Architecture::Qwen2 | Architecture::Qwen3 => {
            "default, linear, dynamic, llama3, yarn, longrope"
        }
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
        "yarn" => yarn(reader, around),
        _ => longrope(reader, around),
    }
}

/// YaRN's numbers, with transformers' defaults: 0 stands for none there.
fn yarn(reader: &mut Reader<'_>, around: &Around) -> Option<RopeScaling> {
    let factor = reader.optional_number("factor");
    if factor.is_none() {
        reader.refuse("factor", "absent", "a number, which `yarn` needs");
    }
    let factor = factor?;
    let mut given = |field: &str| {
        let zero = reader.get(field).is_some_and(|value| value.as_f64() == Some(0.0));
        if zero { None } else { reader.optional_number(field) }
    };
    let (beta_fast, beta_slow) = (given("beta_fast").unwrap_or(32.0), given("beta_slow").unwrap_or(1.0));
    let scales = given("mscale").zip(given("mscale_all_dim"));
    let amplitude = |by: f64| if factor <= 1.0 { 1.0 } else { 0.1 * by * factor.ln() + 1.0 };
    let default = scales.map_or(amplitude(1.0), |(one, all)| amplitude(one) / amplitude(all));
    let attention_factor = reader.optional_number("attention_factor").unwrap_or(default);
    let truncate = if reader.names("truncate") { reader.flag("truncate") } else { true };
    let original_context = original(reader, around);
    Some(RopeScaling::Yarn { factor, beta_fast, beta_slow, original_context, attention_factor, truncate })
}

/// Fields of a rule that change what it computes.
const NUMBERS: [&str; 11] = [
    "factor",
    "low_freq_factor",
    "high_freq_factor",
    "original_max_position_embeddings",
    "short_factor",
    "long_factor",
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
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
