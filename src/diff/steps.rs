//! Two lists of named things, matched by name: the steps of a phase, weights, buffers.

use bitnetc_plan::{Phase, Ref, Section, Step};
use serde_json::{Value, json};

use super::changes::{Change, between};

/// A named thing that two plans do not have alike.
#[derive(Debug)]
pub struct Named<'a> {
    /// Its name.
    pub name: &'a str,
    /// The fields that differ; empty where only one plan has the thing.
    pub changes: Vec<Change>,
    /// Whether the first plan has it, and whether the second has.
    pub in_plans: (bool, bool),
}

/// Matches things by name and compares what `fields` says of each. The order is that of `a`; what only `b` has follows.
pub fn matched<'a, T>(
    a: &'a [T],
    b: &'a [T],
    name: impl Fn(&'a T) -> &'a str,
    fields: impl Fn(&'a T) -> Value,
) -> Vec<Named<'a>> {
    let find = |list: &'a [T], wanted: &str| list.iter().find(|thing| name(thing) == wanted);
    let of_a = a.iter().filter_map(|thing| {
        let own = name(thing);
        let Some(other) = find(b, own) else {
            return Some(Named { name: own, changes: Vec::new(), in_plans: (true, false) });
        };
        let changes = between(&fields(thing), &fields(other));
        (!changes.is_empty()).then_some(Named { name: own, changes, in_plans: (true, true) })
    });
    let only_b = b.iter().filter(|thing| find(a, name(thing)).is_none());
    let only_b = only_b.map(|thing| Named { name: name(thing), changes: Vec::new(), in_plans: (false, true) });
    of_a.chain(only_b).collect()
}

/// A step that two phases do not have alike.
#[derive(Debug)]
pub struct StepDifference<'a> {
    /// Its place in the phase.
    pub section: Section,
    /// Its decisions.
    pub named: Named<'a>,
    /// Predicted microseconds of the phase that it takes in each plan, all layers together.
    pub us: (f64, f64),
    /// L1 bytes per core while it runs, in each plan.
    pub high_water: (u64, u64),
    /// Bytes of DRAM that it moves in the phase, in each plan.
    pub dram_bytes: (u64, u64),
}

/// The steps that differ, section by section. `layers` are the repeats of the layer in each plan.
pub fn steps<'a>(a: &'a Phase, b: &'a Phase, layers: (u32, u32)) -> Vec<StepDifference<'a>> {
    let in_section = |section: Section| {
        let (of_a, of_b) = (a.section(section), b.section(section));
        let times = move |layers: u32| if section == Section::Layer { layers } else { 1 };
        let step = |list: &'a [Step], name: &str| list.iter().find(|step| step.name == name);
        matched(of_a, of_b, |step| &step.name, decisions).into_iter().map(move |named| {
            let (a, b) = (step(of_a, named.name), step(of_b, named.name));
            let us = |step: Option<&Step>, layers| step.map_or(0.0, |s| s.cost.us * f64::from(times(layers)));
            let high_water = |step: Option<&Step>| step.map_or(0, |s| s.l1.high_water());
            let dram = |step: Option<&Step>, layers| step.map_or(0, |s| s.cost.dram_bytes * u64::from(times(layers)));
            StepDifference {
                section,
                us: (us(a, layers.0), us(b, layers.1)),
                high_water: (high_water(a), high_water(b)),
                dram_bytes: (dram(a, layers.0), dram(b, layers.1)),
                named,
            }
        })
    };
    Section::ALL.into_iter().flat_map(in_section).collect()
}

/// Everything that was decided about a step: its call with the arguments, and its outputs with their placement. Addresses, predictions and
/// notes follow from the decisions and are left out.
fn decisions(step: &Step) -> Value {
    let op = serde_json::to_value(&step.op).unwrap_or_default();
    // An op is written as its variant with the arguments inside.
    let arguments = match op {
        Value::Object(fields) => fields.into_iter().next().map(|(_, arguments)| arguments).unwrap_or_default(),
        other => other,
    };
    let outputs: serde_json::Map<_, _> =
        step.outputs.iter().map(|value| (value.name.clone(), Value::String(value.spec.to_string()))).collect();
    let mut fields = json!({"call": step.op.call(), "output": outputs});
    if let (Value::Object(fields), Value::Object(arguments)) = (&mut fields, arguments) {
        fields.extend(arguments.into_iter().map(|(name, argument)| (name, operand(argument))));
    }
    fields
}

/// A tensor's name in place of the tagged name by which a plan refers to it; any other argument as it is.
fn operand(argument: Value) -> Value {
    match serde_json::from_value::<Ref>(argument.clone()) {
        Ok(tensor) => Value::String(tensor.name().to_owned()),
        Err(_) => argument,
    }
}
