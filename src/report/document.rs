//! The data of a plan's page: the document of `inspect --json`, and beside it what only the pictures need.

use std::collections::BTreeMap;

use bitnetc_plan::op::{Access, Argument};
use bitnetc_plan::{Op, Phase, Plan, Ref, Section, Step, TensorSpec};
use serde::Serialize;
use serde_json::Value;

use super::decisions::{Decision, decisions};
use super::graph::{Graph, graph};
use crate::inspect;
use crate::recompile::Recompiled;

/// All data of the page.
#[derive(Serialize)]
pub struct Document<'a> {
    /// As `inspect --json --memory` prints it.
    pub plan: Value,
    /// The rest.
    pub report: Report<'a>,
}

/// What `inspect --json` does not have.
#[derive(Serialize)]
pub struct Report<'a> {
    version: &'static str,
    release: &'a str,
    defects: usize,
    phases: Vec<PhaseReport<'a>>,
    weights: Vec<Tensor<'a>>,
    buffers: Vec<Tensor<'a>>,
    /// Why the page has no decisions.
    decisions_missing: Option<String>,
    /// How the plan compiled again, whose decisions are shown, differs from this one.
    differs: &'a [String],
}

#[derive(Serialize)]
struct PhaseReport<'a> {
    /// One for each step of the document, deallocations included.
    steps: Vec<StepReport<'a>>,
    /// The values by name.
    values: BTreeMap<&'a str, Tensor<'a>>,
    graphs: Vec<Graph>,
    decisions: Vec<Decision>,
}

#[derive(Serialize)]
struct StepReport<'a> {
    /// Whether a program runs on the card.
    launches: bool,
    math: String,
    operands: Vec<Operand<'a>>,
}

/// A tensor that a call is given.
#[derive(Serialize)]
struct Operand<'a> {
    argument: &'static str,
    kind: &'static str,
    name: &'a str,
    access: &'static str,
}

/// A tensor and where it lies.
#[derive(Serialize)]
struct Tensor<'a> {
    name: &'a str,
    per_layer: bool,
    spec: &'a TensorSpec,
    /// The placement in words.
    memory: String,
    address: Option<u64>,
}

impl<'a> Tensor<'a> {
    fn new(name: &'a str, per_layer: bool, spec: &'a TensorSpec, address: Option<u64>) -> Self {
        Tensor { name, per_layer, spec, memory: spec.memory.to_string(), address }
    }
}

impl<'a> Report<'a> {
    /// The report of a plan in which verification found so many `defects`. `again` is the plan compiled again.
    pub fn of(plan: &'a Plan, defects: usize, again: Result<&'a Recompiled, String>) -> Self {
        let explained = again.and_then(|again| Ok((again, decisions(again).map_err(|error| error.to_string())?)));
        let (differs, mut of_phase, decisions_missing) = match explained {
            Ok((again, of_phase)) => (again.differs.as_slice(), of_phase, None),
            Err(why) => ([].as_slice(), Vec::new(), Some(why)),
        };
        let mut phase = |phase: &'a Phase| {
            let known = of_phase.iter().position(|(kind, _)| *kind == phase.kind);
            let decisions = known.map_or_else(Vec::new, |at| of_phase.swap_remove(at).1);
            phase_report(plan, phase, decisions)
        };
        Report {
            version: env!("CARGO_PKG_VERSION"),
            release: &plan.release,
            defects,
            phases: plan.phases.iter().map(&mut phase).collect(),
            weights: plan.weights.iter().map(|w| Tensor::new(&w.name, w.per_layer, &w.spec, w.address)).collect(),
            buffers: plan.buffers.iter().map(|b| Tensor::new(&b.name, b.per_layer, &b.spec, b.address)).collect(),
            decisions_missing,
            differs,
        }
    }
}

fn phase_report<'a>(plan: &'a Plan, phase: &'a Phase, decisions: Vec<Decision>) -> PhaseReport<'a> {
    let outputs = phase.steps().flat_map(|step| &step.outputs);
    PhaseReport {
        steps: phase.steps().map(|step| step_report(plan, step)).collect(),
        values: outputs.map(|v| (v.name.as_str(), Tensor::new(&v.name, false, &v.spec, v.address))).collect(),
        graphs: Section::ALL.into_iter().map(|section| graph(plan, phase, section)).collect(),
        decisions,
    }
}

fn step_report<'a>(plan: &Plan, step: &'a Step) -> StepReport<'a> {
    StepReport { launches: step.op.launches(), math: inspect::math(plan, &step.op), operands: operands(&step.op) }
}

fn operands(op: &Op) -> Vec<Operand<'_>> {
    let mut operands = Vec::new();
    op.arguments(&mut |argument, value| {
        if let Argument::Operand(found) = value {
            let kind = match found.tensor {
                Ref::Value(_) => "value",
                Ref::Weight(_) => "weight",
                Ref::Buffer(_) => "buffer",
            };
            let access = match found.access {
                Access::Read => "reads",
                Access::Write => "writes",
                Access::Rename => "renames",
                Access::Free => "frees",
            };
            operands.push(Operand { argument, kind, name: found.tensor.name(), access });
        }
    });
    operands
}
