//! The plan in short: model, card, memory, and a line for each phase.

use std::fmt::Write as _;

use bitnetc_plan::walk::Walk;
use bitnetc_plan::{Phase, Plan, Section};
use owo_colors::OwoColorize as _;

use super::View;
use crate::render::units::{banded, bytes, percent, thousands, time};
use crate::render::{Align, Column, Page, Table};

/// Counts of one phase.
pub struct Counts {
    /// Calls of one layer, deallocations apart.
    pub layer_calls: usize,
    /// Device programs of one layer; `None` for a plan with defects.
    pub layer_programs: Option<u64>,
    /// Device programs of the whole phase.
    pub programs: Option<u64>,
    /// Most L1 bytes at once, circular buffers and tensors.
    pub high_water: u64,
    /// The step at which that is.
    pub highest: String,
}

impl Counts {
    pub fn new(plan: &Plan, phase: &Phase, walk: Option<&Walk>) -> Self {
        // The first of equals.
        let highest = phase.steps().rev().max_by_key(|s| s.l1.high_water());
        Counts {
            layer_calls: phase.layer.iter().filter(|s| s.op.freed().is_none()).count(),
            layer_programs: walk.map(|walk| walk.programs_of(Section::Layer)),
            programs: walk.map(|walk| walk.programs(plan.model.layers)),
            high_water: highest.map_or(0, |s| s.l1.high_water()),
            highest: highest.map_or_else(String::new, |s| s.name.clone()),
        }
    }
}

/// The plan in short.
pub fn page(view: &View) -> Page {
    let mut page = Page::default();
    page.prose(format!("{}{}\n\n", heading(view.plan), memory(view)));
    let mut table = Table::new(vec![
        Column::new("phase", Align::Left),
        Column::new("calls/layer", Align::Right).expendable(2),
        Column::new("programs/layer", Align::Right).expendable(3),
        Column::new("programs", Align::Right).expendable(4),
        Column::new("predicted", Align::Right),
        Column::new("host", Align::Right).expendable(5),
        Column::new("DRAM traffic", Align::Right).expendable(1),
        Column::new("L1 high-water", Align::Right),
        Column::new("at", Align::Left).expendable(6),
        Column::new("traced", Align::Left).expendable(7),
    ]);
    let number = |n: Option<u64>| n.map_or_else(|| "?".to_owned(), thousands);
    for (i, phase) in view.plan.phases.iter().enumerate() {
        let counts = Counts::new(view.plan, phase, view.walk(i));
        let room = view.plan.card.l1.end.saturating_sub(view.plan.card.l1.base);
        table.row(vec![
            phase.kind.to_string(),
            counts.layer_calls.to_string(),
            number(counts.layer_programs),
            number(counts.programs),
            banded(phase.cost.device_us, phase.cost.band_us),
            phase.cost.host_us.map_or_else(|| "-".to_owned(), time),
            bytes(phase.cost.dram_bytes),
            format!("{} ({})", thousands(counts.high_water), percent(counts.high_water, room)),
            counts.highest,
            if phase.trace.is_some() { "yes" } else { "no" }.to_owned(),
        ]);
    }
    page.table(table);
    for phase in &view.plan.phases {
        let at = |(position, us): &(u32, f64)| format!("{position}: {}", time(*us));
        let all: Vec<String> = phase.cost.positions.iter().map(at).collect();
        if !all.is_empty() {
            page.prose(format!("\n{} by position, {}\n", phase.kind, all.join(", ")));
        }
    }
    page.prose(
        "\nCalls without deallocations; times are predicted, not measured, with the band that the cost model's constants leave.\n",
    );
    page
}

/// Model, card and options: two lines.
pub fn heading(plan: &Plan) -> String {
    let (model, card, options) = (&plan.model, &plan.card, &plan.options);
    let mut text = format!(
        "{} on {}, {} layers, {} policy{}\n",
        model.name.bold(),
        card.name.bold(),
        model.layers,
        options.policy,
        options.overrides.iter().map(|o| format!(", {o}")).collect::<String>()
    );
    let _ = writeln!(
        text,
        "batch {}, context {} in cache blocks of {}; {}x{} cores with {} of L1 each, {} DRAM banks of {}",
        options.batch,
        options.context,
        options.block,
        card.grid.0,
        card.grid.1,
        bytes(card.l1.end.saturating_sub(card.l1.base)),
        card.dram.banks,
        bytes(card.dram.bank_bytes)
    );
    if let Some(short) = plan.short_sequence() {
        let _ = writeln!(
            text,
            "up to {short} tokens rotate by the short factors, more by the long: prompts are prefilled by phases of their own kind"
        );
    }
    text
}

fn memory(view: &View) -> String {
    let Some(verified) = view.verified else { return "DRAM: unknown, the plan has defects".into() };
    let (used, banks) = (verified.dram(), u64::from(view.plan.card.dram.banks));
    let all = |bank: u64| bytes(bank.saturating_mul(banks));
    format!(
        "DRAM: {} for weights, {} for buffers, at most {} for values and {} for traces: {} of the card",
        all(used.weights),
        all(used.buffers),
        all(used.values),
        all(used.traces),
        percent(used.total(), view.plan.card.dram.bank_bytes)
    )
}
