//! `bitnetc diff`: the differences between two plans and their predicted effect on time, L1 and DRAM.

mod changes;
mod print;
mod steps;

use std::path::PathBuf;

use bitnetc_plan::{Phase, Plan, Verified, verify};
use serde_json::json;

use crate::render::{self, Width};
use crate::report::{self, Destination};
use crate::{document, input};
use changes::{Change, between};
pub use print::Document;
use steps::{Named, StepDifference, matched, steps};

/// Show the differences between two plans, and their predicted effect.
///
/// Steps, weights and buffers are matched by name, and a line names each decision that differs: the call, an argument, a placement, a
/// precision. The exit code is 0 where the plans are alike and 1 where they differ.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc diff a.ron b.ron
  bitnetc diff a.ron b.ron --json | jq -r '.phases[].steps[].name'
  bitnetc diff a.ron b.ron --html difference.html")]
pub struct Args {
    /// The first plan, RON or binary
    a: PathBuf,
    /// The second plan
    b: PathBuf,
    /// JSON for tools: everything the tables hold
    #[arg(long, conflicts_with = "Destination")]
    json: bool,
    #[command(flatten)]
    width: Width,
    #[command(flatten)]
    page: Destination,
}

/// A plan and what its verification found.
struct Side<'a> {
    plan: &'a Plan,
    verified: Option<Verified<'a>>,
}

/// The differences between two plans.
struct Difference<'a> {
    a: Side<'a>,
    b: Side<'a>,
    /// Model, options, card and release.
    facts: Vec<Change>,
    weights: Vec<Named<'a>>,
    buffers: Vec<Named<'a>>,
    phases: Vec<PhaseDifference<'a>>,
}

/// Two phases of one kind; one is missing where only one plan has such a phase.
struct PhaseDifference<'a> {
    a: Option<&'a Phase>,
    b: Option<&'a Phase>,
    /// Fields of the phase itself: how it is traced, its results.
    changes: Vec<Change>,
    steps: Vec<StepDifference<'a>>,
}

impl PhaseDifference<'_> {
    fn is_empty(&self) -> bool {
        self.a.is_some() && self.b.is_some() && self.changes.is_empty() && self.steps.is_empty()
    }
}

impl<'a> Difference<'a> {
    fn between(a: &'a Plan, b: &'a Plan) -> Self {
        let value = |plan: &Plan| json!({"release": plan.release, "model": plan.model, "options": plan.options, "card": plan.card});
        let mut kinds: Vec<_> = a.phases.iter().chain(&b.phases).map(|phase| phase.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        // Decode phases of different batches are one kind of phase here.
        let decode = |plan: &'a Plan| plan.decode();
        let mut pairs = vec![(decode(a), decode(b))];
        pairs.retain(|pair| *pair != (None, None));
        let prefill = kinds.into_iter().filter(|kind| matches!(kind, bitnetc_plan::PhaseKind::Prefill { .. }));
        pairs.extend(prefill.map(|kind| (a.phase(kind), b.phase(kind))));
        Difference {
            facts: between(&value(a), &value(b)),
            weights: matched(&a.weights, &b.weights, |w| &w.name, |w| serde_json::to_value(w).unwrap_or_default()),
            buffers: matched(&a.buffers, &b.buffers, |w| &w.name, |w| serde_json::to_value(w).unwrap_or_default()),
            phases: pairs.into_iter().map(|(of_a, of_b)| phase(of_a, of_b, (a.model.layers, b.model.layers))).collect(),
            a: Side { plan: a, verified: verify(a).ok() },
            b: Side { plan: b, verified: verify(b).ok() },
        }
    }

    fn is_empty(&self) -> bool {
        self.facts.is_empty()
            && self.weights.is_empty()
            && self.buffers.is_empty()
            && self.phases.iter().all(PhaseDifference::is_empty)
    }
}

fn phase<'a>(a: Option<&'a Phase>, b: Option<&'a Phase>, layers: (u32, u32)) -> PhaseDifference<'a> {
    let head = |phase: &Phase| json!({"kind": phase.kind.to_string(), "results": phase.results, "trace": phase.trace});
    let (changes, steps) = match (a, b) {
        (Some(of_a), Some(of_b)) => (between(&head(of_a), &head(of_b)), steps(of_a, of_b, layers)),
        _ => (Vec::new(), Vec::new()),
    };
    PhaseDifference { a, b, changes, steps }
}

/// The data of the page: the document, and which plans it is about.
fn page(difference: &Difference<'_>) -> serde_json::Value {
    let side = |side: &Side<'_>| json!({"model": side.plan.model, "options": side.plan.options, "card": side.plan.card, "release": side.plan.release});
    json!({"difference": print::document(difference), "plans": [side(&difference.a), side(&difference.b)]})
}

/// Compares and prints; true where the plans are alike.
///
/// # Errors
/// A plan that cannot be read.
pub fn run(args: &Args) -> miette::Result<bool> {
    let (a, b) = (input::plan(&args.a)?, input::plan(&args.b)?);
    let difference = Difference::between(&a, &b);
    if args.page.is_wanted() {
        args.page.deliver(&report::of_difference(&page(&difference))?)?;
        return Ok(difference.is_empty());
    }
    match args.json {
        true => render::print(&document::text(&print::document(&difference))?).map_err(input::cannot_print)?,
        false => args.width.print(&print::page(&difference))?,
    }
    Ok(difference.is_empty())
}
