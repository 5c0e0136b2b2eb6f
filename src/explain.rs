//! `bitnetc explain`: why a step is as it is.

mod json;

use std::fmt::Write as _;
use std::path::PathBuf;

use bitnetc_compiler::explain::{ASKED, Alternative, ExplainError, Explanation, Move, Reading, explain};
use bitnetc_compiler::graph::Section;
use bitnetc_compiler::passes::PlaceError;
use bitnetc_compiler::passes::values::Grid;
use bitnetc_compiler::policy::Precision;
use bitnetc_compiler::target::Calibration;
use bitnetc_plan::{Bound, Phase, Plan, Step};
use clap_complete::engine::ArgValueCompleter;
use miette::{MietteDiagnostic, Report, miette};
use owo_colors::OwoColorize as _;

pub use json::Document;

use crate::inspect::Selection;
use crate::recompile::{Recompiled, recompile};
use crate::render::units::{banded, bytes, thousands, time};
use crate::render::{self, Align, Column, Page, Table, Width};
use crate::{completions, input};

/// Explain a step of a plan: what was chosen, what else there was, what bounds it, what was proved.
///
/// The plan is compiled again from its own options to ask the search. Times are predictions of the cost model, never measurements.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc explain plan.ron down
  bitnetc explain plan.ron o --phase prefill-128 --alternatives 16
  bitnetc explain plan.ron gate --model my-model.ron")]
pub struct Args {
    /// The plan, RON or binary
    plan: PathBuf,
    /// The step, as `bitnetc inspect` names it
    #[arg(add = ArgValueCompleter::new(completions::steps))]
    step: String,
    /// The phase it belongs to: `decode` or `prefill-TOKENS` [default: the plan's first]
    #[arg(long, value_name = "PHASE", add = ArgValueCompleter::new(completions::phases))]
    phase: Option<Selection>,
    /// The model the plan was made of [default: the shipped one with the plan's digest]
    #[arg(long)]
    model: Option<String>,
    /// The target the plan was made for, as a file, when it is no shipped one
    #[arg(long)]
    target: Option<String>,
    /// Alternatives shown, and constraints that rule ways out: 1 to 16
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=ASKED as i64))]
    alternatives: u16,
    /// JSON for tools: everything that is printed
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    width: Width,
}

/// Compiles the plan again, asks, prints.
///
/// # Errors
/// When there is no such step, or the plan cannot be compiled again.
pub fn run(args: Args) -> miette::Result<()> {
    let plan = input::plan(&args.plan)?;
    let phase = match args.phase {
        Some(selection) => selection.phases(&plan)?.first().copied(),
        None => Some(0),
    };
    let phase = phase.and_then(|at| plan.phases.get(at)).ok_or_else(|| miette!("the plan has no phase"))?;
    if let Some(text) = freed(phase, &args.step) {
        let text = if args.json { json::freed(&args.step, &text)? } else { text };
        return render::print(&text).map_err(input::cannot_print);
    }
    let again = recompile(&plan, args.model.as_deref(), args.target.as_deref())?;
    let found =
        explain(&again.compiled, &again.target, &again.options, phase.kind, &args.step).map_err(
            |error| match &error {
                ExplainError::NoStep { step, steps, .. } => {
                    let meant = input::did_you_mean(step, &steps.iter().map(String::as_str).collect::<Vec<_>>());
                    let diagnostic = MietteDiagnostic::new(error.to_string());
                    Report::from(if meant.is_empty() { diagnostic } else { diagnostic.with_help(meant.trim_end()) })
                }
                _ => Report::msg(error),
            },
        )?;
    // What is explained is the plan compiled again.
    let phase = again.compiled.plan.phase(phase.kind).unwrap_or(phase);
    if args.json {
        let text = json::text(&again, &found, phase, &args.step, args.alternatives.into())?;
        return render::print(&text).map_err(input::cannot_print);
    }
    args.width.print(&page(&again, phase, &found, &args.step, args.alternatives.into()))
}

/// A deallocation has no alternatives.
fn freed(phase: &Phase, name: &str) -> Option<String> {
    let steps: Vec<&Step> = phase.steps().collect();
    let at = steps.iter().position(|s| s.name == name && s.op.freed().is_some())?;
    let value = steps[at].op.freed()?.name();
    let reader = steps[..at].iter().rev().find(|s| s.op.freed().is_none());
    let after =
        reader.map_or("where the section begins".to_string(), |s| format!("right after `{}`, its last reader", s.name));
    Some(format!("`{name}` frees `{value}` {after}.\n"))
}

/// The explanation for people, with so many alternatives and constraints.
pub fn page(again: &Recompiled, phase: &Phase, found: &Explanation, step: &str, limit: usize) -> Page {
    let cost = &again.target.cost;
    let mut text = Page::default();
    if !again.differs.is_empty() {
        let _ = writeln!(
            text,
            "{} compiled again, the plan comes out otherwise ({}): it was made by another version, or changed by hand. What \
             follows explains the plan compiled again.\n",
            "note:".bold(),
            again.differs.join("; ")
        );
    }
    heading(&mut text, &again.compiled.plan, phase, found, step);
    moves(&mut text, found);
    operands(&mut text, found);
    bounds(&mut text, found, cost);
    precision(&mut text, found);
    kernels(&mut text, found);
    alternatives(&mut text, found, limit);
    refusals(&mut text, found, limit);
    let _ = writeln!(text, "\nTimes are predicted, not measured.");
    text
}

fn heading(text: &mut Page, plan: &Plan, phase: &Phase, found: &Explanation, step: &str) {
    let part = if step == found.call.name { String::new() } else { format!(", part of {}", found.call.name) };
    let when = match found.section {
        Section::Layer => format!("in each of {} layers", found.times),
        Section::Prologue => "once, before the layers".into(),
        Section::Epilogue => "once, after the layers".into(),
    };
    let _ = writeln!(text, "{}{part}: {when} of {} on {}", step.bold(), plan.model.name, plan.card.name);
    let _ = writeln!(text, "chosen: {}", found.chosen.what);
    let us = found.chosen.price.times(u64::from(found.times)).us();
    let _ = writeln!(
        text,
        "predicted {} ({:.1} %) of the phase's {}; {} of L1 per core at its worst",
        time(us),
        100.0 * us / phase.cost.device_us.max(f64::MIN_POSITIVE),
        banded(phase.cost.device_us, phase.cost.band_us),
        bytes(found.chosen.peak)
    );
}

/// Reshards before the call: what they take, and why they are there.
fn moves(text: &mut Page, found: &Explanation) {
    for moved in &found.moves {
        let Move { step, value, from, to, cost, .. } = moved;
        let all = time(cost.us * f64::from(found.times));
        let _ = writeln!(text, "{} moves {value} from {from} to {to}: {all}, {} each", step.bold(), time(cost.us));
        let _ = writeln!(text, "  because {}", because(moved, &found.call.name));
    }
}

/// Why a value was moved for its reader.
pub fn because(moved: &Move, reader: &str) -> String {
    let from = &moved.from;
    let reads = match moved.readable {
        0 => format!("no legal way of {reader} reads it in {from}"),
        n => format!("the {n} ways of {reader} that read it in {from} make the phase no faster"),
    };
    let leaves = moved.maker.as_ref().map(|maker| match (&maker.refusal, maker.leaving) {
        (Some(refusal), _) => format!("{} cannot leave it in {}: {}", maker.call, moved.to, refusal.what),
        (None, 0) => format!("no way of {} leaves it in {}", maker.call, moved.to),
        (None, n) => format!("the {n} ways of {} that leave it in {} make the phase no faster", maker.call, moved.to),
    });
    leaves.map_or_else(|| format!("{reads}; it was moved before"), |leaves| format!("{reads}, and {leaves}"))
}

fn operands(text: &mut Page, found: &Explanation) {
    for reading in &found.operands {
        let _ = writeln!(text, "reads {} in {}: {}", reading.value.bold(), reading.wants, self::reading(reading));
    }
    if let Some(out) = found.chosen.produces.first() {
        let _ = writeln!(text, "leaves its result in {}", out.memory);
    }
    for fold in &found.folds {
        let _ = writeln!(text, "folded: the scale {} of {} went into {}", fold.scale, fold.from, fold.into.join(", "));
    }
}

/// How a value comes to lie where the call wants it.
pub fn reading(reading: &Reading) -> String {
    match (reading.resharded, reading.elsewhere) {
        (true, _) => "resharded for it".to_string(),
        (false, 0) => "where it lies; no legal way wants it elsewhere".to_string(),
        (false, others) => format!("where it lies, no reshard; {others} other placements would have been legal"),
    }
}

fn bounds(text: &mut Page, found: &Explanation, cost: &Calibration) {
    let _ = writeln!(text, "\n{}", "what bounds it, beside the roofline".bold());
    let mut table = Table::new(vec![
        Column::new("step", Align::Left),
        Column::new("predicted", Align::Right),
        Column::new("DRAM", Align::Right),
        Column::new("at peak", Align::Right),
        Column::new("FPU cycles", Align::Right),
        Column::new("at clock", Align::Right),
        Column::new("bound", Align::Left),
    ]);
    let drafts = found.chosen.drafts.iter().filter(|d| d.op.launches()).map(|d| (&d.name, d.cost));
    for (name, c) in found.moves.iter().map(|m| (&m.step, m.cost)).chain(drafts) {
        table.row(vec![
            name.clone(),
            time(c.us),
            bytes(c.dram_bytes),
            time(c.dram_bytes as f64 / (cost.dram_gb_per_s * 1000.0)),
            thousands(c.fpu_cycles),
            time(c.fpu_cycles as f64 / (cost.clock_ghz * 1000.0)),
            words(c.bound).to_owned(),
        ]);
    }
    text.table(table);
}

fn words(bound: Bound) -> &'static str {
    match bound {
        Bound::Launch => "launching",
        Bound::Dram => "DRAM",
        Bound::Compute => "matrix unit",
        Bound::Movement => "moving data",
    }
}

fn precision(text: &mut Page, found: &Explanation) {
    let Some(decision) = &found.precision else { return };
    let show =
        |p: Precision| format!("{} {}, {} sums", p.weight, p.fidelity, if p.fp32_dest_acc { "fp32" } else { "bf16" });
    let _ = writeln!(text, "\n{}", "precision".bold());
    let _ = writeln!(text, "asked {}; used {}", show(decision.asked), show(decision.used));
    let content = decision.activation;
    let grid = |g: Grid| match g.exponent {
        0 => format!(", integers from {} to {}", g.min, g.max),
        e => format!(", {} to {} times 2^{e}", g.min, g.max),
    };
    let integers = content.grid.map_or(String::new(), grid);
    let _ = writeln!(text, "activations: {} significant bits{integers}", content.significant_bits);
    for theorem in &decision.theorems {
        let _ = writeln!(text, "proved, {}: {}", theorem.proof(), theorem.statement());
    }
    if let Some(storage) = &found.storage {
        let _ = writeln!(text, "weight: {storage}");
    }
}

/// What the kernels do to the numbers.
fn kernels(text: &mut Page, found: &Explanation) {
    if found.remarks.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{}, as seen on Tenstorrent's simulator", "what its kernels do".bold());
    for (step, remark) in &found.remarks {
        let _ = writeln!(text, "{step}: {remark}");
    }
}

fn alternatives(text: &mut Page, found: &Explanation, limit: usize) {
    let _ = writeln!(
        text,
        "\n{}: {} legal ways in all; the best, each with the cheapest phase around it",
        "alternatives".bold(),
        found.legal
    );
    let mut table = Table::new(vec![
        Column::new("itself", Align::Right),
        Column::new("phase", Align::Right),
        Column::new("reshards", Align::Right),
        Column::new("what", Align::Left).wrapped(30),
        Column::new("why not", Align::Left).wrapped(20),
    ]);
    for alternative in found.alternatives.iter().take(limit) {
        table.row(alternative_row(found, alternative));
    }
    if found.alternatives.is_empty() {
        let _ = writeln!(text, "none: bitnetc considers one way");
    } else {
        text.table(table);
    }
}

fn alternative_row(found: &Explanation, alternative: &Alternative) -> Vec<String> {
    let (phase, reshards, why) = match &alternative.verdict {
        Ok(forced) => {
            let more = forced.reshard_count as i64 - found.phase_reshards as i64;
            let phase = (forced.price.ns as f64 - found.phase.ns as f64) / 1000.0;
            (format!("+{}", time(phase)), format!("{more:+}"), why_not(found, alternative, more))
        }
        Err(error) => (String::new(), String::new(), verdict(error)),
    };
    let others =
        if alternative.dominates == 0 { String::new() } else { format!(" (best of {})", alternative.dominates + 1) };
    vec![
        time(alternative.candidate.price.us()),
        phase,
        reshards,
        format!("{}{others}", alternative.candidate.what),
        why,
    ]
}

/// Why there is no phase with an alternative.
pub fn verdict(error: &PlaceError) -> String {
    match error {
        PlaceError::DoesNotFit { call, needed, available } => {
            format!("L1: `{call}` would need {} per core of {}", bytes(*needed), bytes(*available))
        }
        other => other.to_string(),
    }
}

/// Why an alternative, with `more` reshards around it, was not chosen.
pub fn why_not(found: &Explanation, alternative: &Alternative, more: i64) -> String {
    let own = alternative.candidate.price;
    match alternative.regret(found.phase) {
        Some(0) if alternative.verdict.as_ref().is_ok_and(|f| f.price.work > found.phase.work) => {
            "price: as long, but more work".into()
        }
        Some(0) if alternative.verdict.as_ref().is_ok_and(|f| f.price > found.phase) => {
            "price: as long, but fewer cores at longer positions".into()
        }
        Some(0) => "equal; the first is taken".into(),
        _ if more > 0 && own <= found.chosen.price => format!("price: {more} more reshards around it"),
        _ if own > found.chosen.price => "price: itself slower".into(),
        _ => alternative.verdict.as_ref().map_or_else(|_| String::new(), |forced| neighbours(&found.slower(forced))),
    }
}

/// The calls that get slower, the three that do most.
fn neighbours(slower: &[(&str, u64)]) -> String {
    let named = slower.iter().take(3).map(|(name, ns)| format!("{name} +{}", time(*ns as f64 / 1000.0)));
    let more = if slower.len() > 3 { format!(" and {} more", slower.len() - 3) } else { String::new() };
    format!("price: slower around it: {}{more}", named.collect::<Vec<_>>().join(", "))
}

fn refusals(text: &mut Page, found: &Explanation, limit: usize) {
    if found.refusals.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{}: {} ways, for breaking", "refused by TT-NN's rules".bold(), found.refused);
    let mut table = Table::new(vec![
        Column::new("ways", Align::Right),
        Column::new("constraint", Align::Left).expendable(2),
        Column::new("TT-NN's words", Align::Left).wrapped(30),
        Column::new("first by", Align::Left).wrapped(20).expendable(1),
    ]);
    for refusal in found.refusals.iter().take(limit) {
        let hint = if refusal.hint.is_empty() { String::new() } else { format!(" ({})", refusal.hint) };
        table.row(vec![
            thousands(refusal.ways as u64),
            refusal.constraint.clone(),
            format!("{}{hint}", refusal.what),
            refusal.example.clone(),
        ]);
    }
    text.table(table);
}

#[cfg(test)]
mod tests {
    use bitnetc_compiler::{Options, compile, model, target::Target};

    use super::*;
    use crate::render::fits::fits;

    #[test]
    fn explanations_fit_every_terminal() {
        let model = model::find("tiny-shakespeare").unwrap().model().unwrap();
        let options = Options { prefill: vec![], ..Options::for_model(&model) };
        let plan = compile(&model, &Target::find("n150").unwrap(), &options).unwrap().plan;
        let again = recompile(&plan, None, None).unwrap();
        for step in ["qkv", "attended", "normed"] {
            let phase = &plan.phases[0];
            let found = explain(&again.compiled, &again.target, &again.options, phase.kind, step).unwrap();
            let page = page(&again, phase, &found, step, 8);
            fits(&page);
            let (least, most) = phase.cost.band_us;
            assert!(page.render(None).contains(&format!(" us, {least:.0} to {most:.0};")), "{}", page.render(None));
        }
    }
}
