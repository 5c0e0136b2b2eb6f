//! The steps of a phase, one line each; deallocations stand at the step they follow.

use std::fmt::Write as _;

use bitnetc_plan::op::Role;
use bitnetc_plan::walk::Walk;
use bitnetc_plan::{ComputeKernel, Op, Phase, Plan, Ref, Step, Value};
use owo_colors::OwoColorize as _;

use super::View;
use super::roofline::Roofline;
use super::summary::Counts;
use crate::render::units::{banded, bytes, thousands, time};
use crate::render::{Align, Column, Page, Table};

/// The steps of a phase.
pub fn page(view: &View, phase: &Phase, walk: Option<&Walk>) -> Page {
    let plan = view.plan;
    let mut page = Page::default();
    page.prose(heading(view, phase, walk));
    let sections: Vec<(String, &[Step], u64)> = match view.layer {
        Some(layer) => vec![(format!("layer {layer}"), &phase.layer, 1)],
        None => vec![
            ("prologue".into(), &phase.prologue, 1),
            (format!("layer, {} times", plan.model.layers), &phase.layer, u64::from(plan.model.layers)),
            ("epilogue".into(), &phase.epilogue, 1),
        ],
    };
    for (title, steps, times) in sections.into_iter().filter(|(_, steps, _)| !steps.is_empty()) {
        let us: f64 = steps.iter().map(|s| s.cost.us).sum();
        let dram: u64 = steps.iter().map(|s| s.cost.dram_bytes).fold(0, u64::saturating_add);
        let whole = if times > 1 { format!(", {} in all", time(us * times as f64)) } else { String::new() };
        let peak = view.roofline.map_or_else(String::new, |r| format!(", {} at peak", time(r.dram_us(dram))));
        page.prose(format!("\n{}: predicted {}{whole}, {} of DRAM{peak}\n", title.bold(), time(us), bytes(dram)));
        page.table(table(view, steps));
    }
    remarks(&mut page, view, phase);
    page
}

/// The remarks below the tables.
fn remarks(text: &mut Page, view: &View, phase: &Phase) {
    text.legend(DRAM_US, "\nDRAM us: the step's traffic at peak bandwidth\n");
    text.legend(FPU_US, "FPU us: the busiest core's products at the clock\n");
    let results = &phase.results;
    if view.layer.is_none() && !results.is_empty() {
        let _ = writeln!(text, "\nresults: {}", results.join(", "));
    }
    if let (None, Some(trace)) = (view.layer, &phase.trace) {
        let _ = writeln!(
            text,
            "trace: {} warm-up, the host may write {}; the card carries {}",
            trace.warm_up,
            trace.inputs.join(", "),
            trace.feedback.join(", ")
        );
    }
}

/// Columns of the time at the card's peaks.
const DRAM_US: &str = "DRAM us";
const FPU_US: &str = "FPU us";

/// Phase and where in it a single layer lies.
pub fn heading(view: &View, phase: &Phase, walk: Option<&Walk>) -> String {
    let counts = Counts::new(view.plan, phase, walk);
    let programs = counts.layer_programs.map_or_else(String::new, |n| format!(" in {n} device programs"));
    let mut text = format!(
        "{} of {} on {}: {} calls a layer{programs}, predicted {}\n",
        phase.kind.bold(),
        view.plan.model.name,
        view.plan.card.name,
        counts.layer_calls,
        banded(phase.cost.device_us, phase.cost.band_us)
    );
    if let Some(layer) = view.layer {
        let us = |steps: &[Step]| steps.iter().map(|s| s.cost.us).sum::<f64>();
        let start = us(&phase.prologue) + f64::from(layer) * us(&phase.layer);
        let _ = writeln!(text, "layer {layer} of {} starts at {} (predicted)", view.plan.model.layers, time(start));
    }
    text
}

fn table(view: &View, steps: &[Step]) -> Table {
    let mut table = Table::new(vec![
        Column::new("step", Align::Left),
        Column::new("ttnn call", Align::Left).wrapped(26).expendable(3),
        Column::new("output", Align::Left).wrapped(24),
        Column::new("math", Align::Left).wrapped(6).expendable(2),
        Column::new("CB bytes", Align::Right).expendable(4),
        Column::new("high-water", Align::Right),
        Column::new("us", Align::Right),
        Column::new(DRAM_US, Align::Right).expendable(5),
        Column::new(FPU_US, Align::Right).expendable(5),
        Column::new("bound", Align::Left).expendable(1),
        Column::new("frees", Align::Left).wrapped(8).expendable(6),
        Column::new("note", Align::Left).wrapped(40).expendable(7),
    ]);
    let mut steps = steps.iter().peekable();
    while let Some(step) = steps.next() {
        let mut freed: Vec<&str> = freed(step).into_iter().collect();
        // A deallocation has a row of its own only where no call stands before it.
        let name = if freed.is_empty() { step.name.as_str() } else { "" };
        while let Some(next) = steps.next_if(|next| next.op.freed().is_some()) {
            freed.extend(self::freed(next));
        }
        let number = |n: u64| if n == 0 { String::new() } else { thousands(n) };
        let runs = step.op.launches();
        // An empty cell is easier to read than a zero.
        let peak = |us: fn(&Roofline, u64) -> f64, amount: u64| match &view.roofline {
            Some(roofline) if amount > 0 => format!("{:.1}", us(roofline, amount)),
            _ => String::new(),
        };
        table.row(vec![
            name.to_owned(),
            call(&step.op).to_owned(),
            outputs(step),
            math(view.plan, &step.op),
            number(step.l1.circular_buffers),
            number(step.l1.high_water()),
            if runs { format!("{:.1}", step.cost.us) } else { String::new() },
            peak(Roofline::dram_us, step.cost.dram_bytes),
            peak(Roofline::fpu_us, step.cost.fpu_cycles),
            if runs { format!("{:?}", step.cost.bound).to_lowercase() } else { String::new() },
            freed.join(", "),
            step.note.clone(),
        ]);
    }
    table
}

fn freed(step: &Step) -> Option<&str> {
    step.op.freed().map(Ref::name)
}

/// The call without its module; nothing for a deallocation, which stands beside another call.
pub fn call(op: &Op) -> &'static str {
    if op.freed().is_some() { "" } else { op.call().rsplit('.').next().unwrap_or_default() }
}

fn outputs(step: &Step) -> String {
    let padding = |v: &Value| v.padding.map_or_else(String::new, |padding| format!(" ({padding})"));
    let made = step.outputs.iter().map(|v| format!("{} {}{}", v.name, v.spec, padding(v)));
    let written = step.op.written().into_iter().map(|r| format!("{r} in place"));
    made.chain(written).collect::<Vec<_>>().join("\n")
}

/// Fidelity, the matrix's data type when it is a weight, and accumulation.
pub fn math(plan: &Plan, op: &Op) -> String {
    let Some(ComputeKernel { fidelity, fp32_dest_acc, .. }) = op.compute() else { return String::new() };
    let accumulation = if fp32_dest_acc { " fp32" } else { "" };
    let weight = match op.operand(Role::Matrix) {
        Some(Ref::Weight(name)) => plan.weight(name).map_or_else(String::new, |w| format!(" {}", w.spec.dtype)),
        Some(Ref::Value(_) | Ref::Buffer(_)) | None => String::new(),
    };
    format!("{fidelity}{weight}{accumulation}")
}
