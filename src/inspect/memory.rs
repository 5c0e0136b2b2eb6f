//! The L1 map of each step: circular buffers from the bottom, tensors from the top, what is free between.

use bitnetc_plan::walk::{StepMemory, Walk};
use bitnetc_plan::{Card, Phase, Section, Step};

use super::{View, steps};
use crate::render::units::thousands;
use crate::render::{Align, Column, Page, Table};

/// Cells of a map.
const CELLS: u64 = 32;

/// The L1 map of each step of a phase.
pub fn page(view: &View, phase: &Phase, walk: &Walk) -> Page {
    let card = &view.plan.card;
    let mut page = Page::default();
    page.prose(format!(
        "{}L1 of every core from {} to {}\n\n",
        steps::heading(view, phase, Some(walk)),
        thousands(card.l1.base),
        thousands(card.l1.end)
    ));
    let mut table = Table::new(vec![
        Column::new("step", Align::Left),
        Column::new(MAP, Align::Left).expendable(1),
        Column::new("CB bytes", Align::Right).expendable(3),
        Column::new("free", Align::Right),
        Column::new("tensors", Align::Right).expendable(2),
        Column::new("name @ address, lowest first", Align::Left).wrapped(20).expendable(4),
    ]);
    let steps = phase.steps().zip(&walk.steps).filter(|(_, memory)| runs(memory));
    for (step, memory) in steps.filter(|(_, m)| view.layer.is_none() || m.section == Section::Layer) {
        table.row(row(card, step, memory));
    }
    page.table(table);
    page.legend(MAP, "\nmap: C circular buffers, T tensors, . free\n");
    page
}

/// The column that draws L1.
const MAP: &str = "map";

/// Deallocations and views launch nothing, so nothing can clash while they run.
fn runs(memory: &StepMemory) -> bool {
    memory.outcome.as_ref().is_some_and(|o| o.programs > 0)
}

fn row(card: &Card, step: &Step, memory: &StepMemory) -> Vec<String> {
    let used = memory.footprint;
    let live = memory.live.iter().map(|r| format!("{} @ {}", r.name, r.address));
    vec![
        step.name.clone(),
        map(card, memory),
        thousands(used.circular_buffers),
        thousands(card.l1_bytes().saturating_sub(used.high_water())),
        thousands(used.tensors),
        live.collect::<Vec<_>>().join(", "),
    ]
}

fn map(card: &Card, memory: &StepMemory) -> String {
    let buffers_end = card.l1.base + memory.footprint.circular_buffers;
    let cell = |i: u64| {
        // A cell shows what lies at its middle, so the ends of a range are only as exact as a cell is wide.
        let at = card.l1.base + (2 * i + 1) * card.l1_bytes() / (2 * CELLS);
        let tensor = memory.live.iter().any(|r| (r.address..r.address + r.bytes).contains(&at));
        if tensor {
            'T'
        } else if at < buffers_end {
            'C'
        } else {
            '.'
        }
    };
    (0..CELLS).map(cell).collect()
}
