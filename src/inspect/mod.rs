//! `bitnetc inspect`: prints the phases and steps of a plan, with their memory and predicted times, or draws them on a page.

mod json;
mod memory;
mod roofline;
mod select;
mod steps;
mod summary;

use std::path::PathBuf;

use bitnetc_plan::walk::Walk;
use bitnetc_plan::{Defect, Phase, Plan, Verified, verify};
use clap_complete::engine::ArgValueCompleter;

use crate::recompile::recompile;
use crate::render::{self, Page, Width};
use crate::report::{self, Destination};
use crate::{completions, input};
pub use json::Document;
use roofline::Roofline;
pub use select::Selection;
pub use steps::math;

/// Prints a plan: its phases, and the steps of one of them.
///
/// Times are predictions of the cost model, never measurements.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc inspect plan.ron                    # all phases in short
  bitnetc inspect plan.ron --phase decode     # every step, one layer for all
  bitnetc inspect plan.ron --layer 3          # the steps of layer 3
  bitnetc inspect plan.ron --phase prefill-128 --memory   # what lies in L1
  bitnetc inspect plan.ron --json | jq '.phases[0].predicted_us'
  bitnetc inspect plan.ron --html report.html   # all of it, for a browser")]
pub struct Args {
    /// The plan, RON or binary
    pub plan: PathBuf,
    /// The phase whose steps are printed: `decode`, `prefill` (every bucket) or `prefill-TOKENS`
    #[arg(long, value_name = "PHASE", conflicts_with = "Destination", add = ArgValueCompleter::new(completions::phases))]
    pub phase: Option<Selection>,
    /// Only the steps of this layer, from 0 (of decode, unless --phase says otherwise)
    #[arg(long, value_name = "N", conflicts_with = "Destination")]
    pub layer: Option<u32>,
    /// Show what is where in L1 while each step runs, instead of what the step does
    #[arg(long, conflicts_with = "Destination")]
    pub memory: bool,
    /// JSON for tools: everything the tables hold
    #[arg(long, conflicts_with = "Destination")]
    pub json: bool,
    #[command(flatten)]
    width: Width,
    #[command(flatten)]
    pub page: Destination,
    /// For the decisions on the page: the model the plan was made of [default: the shipped one with the plan's digest]
    #[arg(long, requires = "Destination")]
    pub model: Option<String>,
    /// For the decisions on the page: the target the plan was made for, as a file, when it is no shipped one
    #[arg(long, requires = "Destination")]
    pub target: Option<String>,
}

/// Reads and prints the plan.
///
/// # Errors
/// A plan that cannot be read; a phase or layer that the plan does not have; a page that cannot be written.
pub fn run(args: Args) -> miette::Result<()> {
    let plan = input::plan(&args.plan)?;
    let verified = verify(&plan);
    if args.page.is_wanted() {
        return page(&plan, &verified, &args);
    }
    if let Err(defects) = &verified {
        let hint = format!("`bitnetc check {}` lists them", args.plan.display());
        if args.memory {
            miette::bail!(help = hint, "the plan has {} defects, so where its tensors lie is not known", defects.len());
        }
        remark!("warning: the plan has {} defects; {hint}", defects.len());
    }
    let view = View::new(&plan, verified.as_ref().ok(), &args)?;
    if args.json {
        return render::print(&json::document(&view)?).map_err(input::cannot_print);
    }
    args.width.print(&tables(&view))
}

/// Draws the plan. Where the model is not known, the page lacks the decisions and says why; a model that was named must be the plan's.
fn page(plan: &Plan, verified: &Result<Verified<'_>, Vec<Defect>>, args: &Args) -> miette::Result<()> {
    let (model, target) = (args.model.as_deref(), args.target.as_deref());
    let again = match recompile(plan, model, target) {
        Err(report) if model.is_some() || target.is_some() => return Err(report),
        again => again,
    };
    let again = again.as_ref().map_err(|report| match report.help() {
        Some(help) => format!("{report}; {help}"),
        None => report.to_string(),
    });
    args.page.deliver(&report::of_plan(plan, verified, again)?)
}

/// The document of `--json --memory`, of all phases.
pub fn with_memory(plan: &Plan, verified: Option<&Verified<'_>>) -> serde_json::Value {
    json::value(&View { memory: true, ..View::of(plan, verified, Vec::new()) })
}

/// A plan just compiled, as tables: its summary, then the steps of its first phase.
pub fn overview(plan: &Plan) -> Page {
    let verified = verify(plan);
    let view = View::of(plan, verified.as_ref().ok(), Vec::new());
    let mut page = summary::page(&view);
    if let Some(phase) = plan.phases.first() {
        page.prose("\n");
        page.append(steps::page(&view, phase, view.walk(0)));
    }
    page
}

/// A plan just compiled, as what a document says of it.
pub fn described(plan: &Plan) -> Document {
    let verified = verify(plan);
    json::content(&View::of(plan, verified.as_ref().ok(), Vec::new()))
}

/// The part of a plan that was asked for.
struct View<'a> {
    plan: &'a Plan,
    verified: Option<&'a Verified<'a>>,
    roofline: Option<Roofline>,
    /// The phases whose steps are printed.
    phases: Vec<usize>,
    layer: Option<u32>,
    memory: bool,
}

impl<'a> View<'a> {
    fn of(plan: &'a Plan, verified: Option<&'a Verified<'a>>, phases: Vec<usize>) -> Self {
        View { plan, verified, roofline: Roofline::of(plan), phases, layer: None, memory: false }
    }

    fn new(plan: &'a Plan, verified: Option<&'a Verified<'a>>, args: &Args) -> miette::Result<Self> {
        let phases = match (args.phase, args.layer.is_some() || args.memory) {
            (Some(selection), _) => selection.phases(plan)?,
            // Without a phase, details are those of the first: decode, if the plan has it.
            (None, true) => (0..plan.phases.len().min(1)).collect(),
            (None, false) => Vec::new(),
        };
        if let Some(layer) = args.layer.filter(|&n| n >= plan.model.layers) {
            let hint = format!("layers are numbered from 0 to {}", plan.model.layers.saturating_sub(1));
            miette::bail!(help = hint, "the plan has no layer {layer}");
        }
        Ok(View { layer: args.layer, memory: args.memory, ..View::of(plan, verified, phases) })
    }

    fn walk(&self, phase: usize) -> Option<&'a Walk> {
        self.verified?.walks().get(phase)
    }

    /// The phases to print with their walks.
    fn chosen(&self) -> impl Iterator<Item = (&'a Phase, Option<&'a Walk>)> {
        self.phases.iter().filter_map(|&i| self.plan.phases.get(i).map(|phase| (phase, self.walk(i))))
    }
}

fn tables(view: &View) -> Page {
    // Details stand for themselves; the summary is printed when nothing else is asked for.
    let mut page = if view.phases.is_empty() { summary::page(view) } else { Page::default() };
    for (phase, walk) in view.chosen() {
        if !page.is_empty() {
            page.prose("\n");
        }
        page.append(match walk {
            Some(walk) if view.memory => memory::page(view, phase, walk),
            walk => steps::page(view, phase, walk),
        });
    }
    page
}

#[cfg(test)]
mod tests;
