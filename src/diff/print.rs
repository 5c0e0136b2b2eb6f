//! Differences as tables and as JSON.

use std::fmt::Write as _;

use bitnetc_plan::Phase;
use owo_colors::OwoColorize as _;
use schemars::JsonSchema;
use serde::Serialize;

use super::steps::{Named, StepDifference};
use super::{Change, Difference, PhaseDifference, Side};
use crate::document::Content;
use crate::render::units::{banded, bytes, thousands, time};
use crate::render::{Align, Column, Page, Table};

/// Everything that differs, for people.
pub fn page(difference: &Difference) -> Page {
    let mut page = Page::default();
    if difference.is_empty() {
        page.prose("the plans are alike\n");
        return page;
    }
    let mut section = |title: &str, table: Table| {
        if !table.is_empty() {
            let gap = if page.is_empty() { "" } else { "\n" };
            let _ = writeln!(page, "{gap}{}", title.bold());
            page.table(table);
        }
    };
    section("model, card and options", fields(&difference.facts));
    section("predicted", effects(difference));
    for phase in difference.phases.iter().filter(|phase| !phase.is_empty()) {
        let kind = phase.a.or(phase.b).map_or_else(String::new, |phase| phase.kind.to_string());
        section(&kind, fields(&phase.changes));
        section(&format!("{kind}: steps"), steps(&phase.steps));
    }
    section("weights", things(&difference.weights));
    section("buffers", things(&difference.buffers));
    page.prose("\nTimes are predicted, not measured, with the band that the cost model's constants leave.\n");
    page
}

/// A value of one plan. Of a digest its beginning is enough.
fn cell(value: Option<&String>) -> String {
    let Some(value) = value else { return "-".to_owned() };
    if value.len() == 64 && value.bytes().all(|b| b.is_ascii_hexdigit()) {
        format!("{}...", &value[..12])
    } else {
        value.clone()
    }
}

fn fields(changes: &[Change]) -> Table {
    let mut table = Table::new(vec![
        Column::new("field", Align::Left).wrapped(14),
        Column::new("first", Align::Left).wrapped(12),
        Column::new("second", Align::Left).wrapped(12),
    ]);
    for change in changes {
        table.row(vec![change.field.clone(), cell(change.a.as_ref()), cell(change.b.as_ref())]);
    }
    table
}

/// Rows of a thing's changes: its name stands at the first.
fn rows(named: &Named) -> Vec<[String; 4]> {
    let whole = |a: &str, b: &str| vec![[named.name.to_owned(), String::new(), a.to_owned(), b.to_owned()]];
    match named.in_plans {
        (true, false) => whole("present", "-"),
        (false, _) => whole("-", "present"),
        (true, true) => {
            let row = |(at, change): (usize, &Change)| {
                let name = if at == 0 { named.name.to_owned() } else { String::new() };
                [name, change.field.clone(), cell(change.a.as_ref()), cell(change.b.as_ref())]
            };
            named.changes.iter().enumerate().map(row).collect()
        }
    }
}

fn things(list: &[Named]) -> Table {
    let mut table = Table::new(vec![
        Column::new("name", Align::Left).wrapped(14),
        Column::new("field", Align::Left).wrapped(14),
        Column::new("first", Align::Left).wrapped(12),
        Column::new("second", Align::Left).wrapped(12),
    ]);
    list.iter().flat_map(rows).for_each(|row| table.row(row.into()));
    table
}

fn steps(list: &[StepDifference]) -> Table {
    let mut table = Table::new(vec![
        Column::new("step", Align::Left).wrapped(14),
        Column::new("time", Align::Right),
        Column::new("L1", Align::Right).expendable(2),
        Column::new("DRAM traffic", Align::Right).expendable(1),
        Column::new("decision", Align::Left).wrapped(14),
        Column::new("first", Align::Left).wrapped(12),
        Column::new("second", Align::Left).wrapped(12),
    ]);
    for step in list {
        for (at, [name, field, a, b]) in rows(&step.named).into_iter().enumerate() {
            let once = |text: String| if at == 0 { text } else { String::new() };
            let us = once(change(step.us.1 - step.us.0, time));
            let l1 = once(count(step.high_water, thousands));
            let dram = once(count(step.dram_bytes, bytes));
            table.row(vec![name, us, l1, dram, field, a, b]);
        }
    }
    table
}

/// A change with its sign; nothing where there is none.
fn change(by: f64, show: fn(f64) -> String) -> String {
    match by {
        by if by > 0.0 => format!("+{}", show(by)),
        by if by < 0.0 => format!("-{}", show(-by)),
        _ => String::new(),
    }
}

fn count((a, b): (u64, u64), show: fn(u64) -> String) -> String {
    match a.cmp(&b) {
        std::cmp::Ordering::Less => format!("+{}", show(b - a)),
        std::cmp::Ordering::Greater => format!("-{}", show(a - b)),
        std::cmp::Ordering::Equal => String::new(),
    }
}

fn high_water(phase: &Phase) -> u64 {
    phase.steps().map(|step| step.l1.high_water()).max().unwrap_or(0)
}

/// DRAM of the whole card that a plan takes; `None` for one with defects.
fn dram(side: &Side) -> Option<u64> {
    let banks = u64::from(side.plan.card.dram.banks);
    side.verified.as_ref().map(|verified| verified.dram().total().saturating_mul(banks))
}

fn effects(difference: &Difference) -> Table {
    let mut table = Table::new(vec![
        Column::new("", Align::Left).wrapped(14),
        Column::new("first", Align::Right),
        Column::new("second", Align::Right),
        Column::new("change", Align::Right),
    ]);
    let mut row = |name: String, a: Option<String>, b: Option<String>, change: String| {
        let shown = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        table.row(vec![name, shown(a), shown(b), change]);
    };
    for PhaseDifference { a, b, .. } in &difference.phases {
        let kind = a.or(*b).map_or_else(String::new, |phase| phase.kind.to_string());
        let both = |of: fn(&Phase) -> u64| Some((of((*a)?), of((*b)?)));
        let us = |phase: &Option<&Phase>| phase.map(|phase| phase.cost.device_us);
        let shown = |phase: &Option<&Phase>| phase.map(|phase| banded(phase.cost.device_us, phase.cost.band_us));
        let by = us(a).zip(us(b)).map_or_else(String::new, |(a, b)| change(b - a, time));
        row(kind.clone(), shown(a), shown(b), by);
        let l1 = |phase: &Option<&Phase>| phase.map(|phase| thousands(high_water(phase)));
        let by = both(high_water).map_or_else(String::new, |pair| count(pair, thousands));
        row(format!("{kind}: L1 high-water"), l1(a), l1(b), by);
        let traffic = |phase: &Option<&Phase>| phase.map(|phase| bytes(phase.cost.dram_bytes));
        let by = both(|phase| phase.cost.dram_bytes).map_or_else(String::new, |pair| count(pair, bytes));
        row(format!("{kind}: DRAM traffic"), traffic(a), traffic(b), by);
    }
    let (a, b) = (dram(&difference.a), dram(&difference.b));
    row("DRAM".to_owned(), a.map(bytes), b.map(bytes), a.zip(b).map_or_else(String::new, |pair| count(pair, bytes)));
    table
}

/// The differences between two plans. Times are microseconds, sizes bytes; a pair is of the first and the second plan.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Differences")]
pub struct Document {
    /// Whether nothing differs.
    alike: bool,
    /// Model, options, card and release.
    facts: Vec<Change>,
    /// DRAM of the card that each plan takes; null for one with defects.
    dram_bytes: [Option<u64>; 2],
    phases: Vec<PhaseDocument>,
    weights: Vec<Thing>,
    buffers: Vec<Thing>,
}

impl Content for Document {
    const KIND: &'static str = "diff";
}

/// A phase; null in pairs stands for a plan that lacks it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PhaseDifference")]
struct PhaseDocument {
    phase: Option<String>,
    /// Predicted.
    predicted_us: [Option<f64>; 2],
    /// Least and largest of them that the bands of the cost model's constants leave possible.
    predicted_band_us: [Option<(f64, f64)>; 2],
    l1_high_water: [Option<u64>; 2],
    dram_bytes: [Option<u64>; 2],
    /// How it is traced, its results.
    changes: Vec<Change>,
    /// The steps that differ.
    steps: Vec<StepDocument>,
}

/// A named thing that the plans do not have alike.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Different")]
struct Thing {
    name: String,
    in_first: bool,
    in_second: bool,
    /// The fields that differ; none where only one plan has it.
    changes: Vec<Change>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "StepDifference")]
struct StepDocument {
    #[serde(flatten)]
    thing: Thing,
    /// `prologue`, `layer`, `epilogue`.
    section: String,
    /// Predicted, all layers together.
    predicted_us: (f64, f64),
    l1_high_water: (u64, u64),
    dram_bytes: (u64, u64),
}

/// Everything that differs, for tools.
pub fn document(difference: &Difference) -> Document {
    let thing = |named: &Named| Thing {
        name: named.name.into(),
        in_first: named.in_plans.0,
        in_second: named.in_plans.1,
        changes: named.changes.clone(),
    };
    let step = |step: &StepDifference| StepDocument {
        thing: thing(&step.named),
        section: format!("{:?}", step.section).to_lowercase(),
        predicted_us: step.us,
        l1_high_water: step.high_water,
        dram_bytes: step.dram_bytes,
    };
    let phase = |phase: &PhaseDifference| {
        let of = [phase.a, phase.b];
        PhaseDocument {
            phase: phase.a.or(phase.b).map(|phase| phase.kind.to_string()),
            predicted_us: of.map(|phase| phase.map(|phase| phase.cost.device_us)),
            predicted_band_us: of.map(|phase| phase.map(|phase| phase.cost.band_us)),
            l1_high_water: of.map(|phase| phase.map(high_water)),
            dram_bytes: of.map(|phase| phase.map(|phase| phase.cost.dram_bytes)),
            changes: phase.changes.clone(),
            steps: phase.steps.iter().map(step).collect(),
        }
    };
    Document {
        alike: difference.is_empty(),
        facts: difference.facts.clone(),
        dram_bytes: [dram(&difference.a), dram(&difference.b)],
        phases: difference.phases.iter().map(phase).collect(),
        weights: difference.weights.iter().map(thing).collect(),
        buffers: difference.buffers.iter().map(thing).collect(),
    }
}

#[cfg(test)]
mod tests {
    use bitnetc_compiler::policy::Policy;
    use bitnetc_compiler::{Options, compile, model, target::Target};

    use super::*;
    use crate::render::fits::fits;

    #[test]
    fn differences_fit_every_terminal() {
        let model = model::find("tiny-shakespeare").unwrap().model().unwrap();
        let plan = |policy, target| {
            let options = Options { policy, prefill: vec![32], ..Options::for_model(&model) };
            compile(&model, &Target::find(target).unwrap(), &options).unwrap().plan
        };
        let (a, b) = (plan(Policy::Balanced, "n150"), plan(Policy::Exact, "p150"));
        let page = page(&Difference::between(&a, &b));
        fits(&page);
        assert!(page.render(Some(80)).contains("decision"));
    }
}
