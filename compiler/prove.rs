//! Translation validation: a plan computes its model, in the precision that its policy asks for.
//!
//! The compiler asks this of every plan it makes, and `bitnetc check --model` of any plan. It knows nothing of how the plan was made: the
//! model's function is taken from the graph before any pass, that of each phase from its steps. A precision below the one that is asked for
//! needs a proof, and it is proved here again.

use bitnetc_plan::function::{Function, difference, of_phase};
use bitnetc_plan::op::Role;
use bitnetc_plan::weight::Matrix;
use bitnetc_plan::{ComputeKernel, DType, Defect, Invariant, Phase, Place, Plan, Ref, Source, Step, TtnnRelease};

use crate::graph::{Graph, NodeId, Operation};
use crate::model::Model;
use crate::passes::precision::Decision;
use crate::passes::{precision, prepare};
use crate::policy::{Override, Policy, Precision};

/// Compares a plan that was verified with its model.
///
/// # Errors
/// All differences: of each phase the first step that computes something else, and every step of another precision.
pub fn prove(plan: &Plan, model: &Model) -> Result<(), Vec<Defect>> {
    let about_plan = |what: String, hint: &str| vec![defect(Place::Plan, what, hint)];
    let policy: Policy = plan.options.policy.parse().map_err(|e| about_plan(format!("{e}"), ""))?;
    if plan.model.layers as usize != model.layers {
        return Err(about_plan(format!("{} layers, the model has {}", plan.model.layers, model.layers), ""));
    }
    let expected = model.function(plan.options.context as usize, policy);
    let expected = expected.map_err(|e| about_plan(format!("the model at the plan's context: {e}"), ""))?;
    let mut defects = functions(plan, &expected);
    if defects.is_empty() {
        defects = precisions(plan, model, policy);
    }
    if defects.is_empty() && plan.model.function != expected.digest(plan.model.layers) {
        defects.extend(about_plan(format!("its function is recorded as {}", plan.model.function), "the model's"));
    }
    if defects.is_empty() && model.digest().is_ok_and(|digest| digest != plan.model.digest) {
        defects.extend(about_plan(format!("its model is recorded as {}", plan.model.digest), "the model's digest"));
    }
    if defects.is_empty() { Ok(()) } else { Err(defects) }
}

/// The differences of all phases from the function that is expected of them.
pub fn functions(plan: &Plan, expected: &Function) -> Vec<Defect> {
    let mut defects = Vec::new();
    for phase in &plan.phases {
        match of_phase(plan, phase) {
            Err(found) => defects.extend(found),
            Ok(found) => {
                defects.extend(difference(&found.function, expected).map(|found| found.defect(phase.kind, "the model")))
            }
        }
    }
    defects
}

/// Steps of another precision than the one that is asked for, or proved to lose nothing against it.
pub fn precisions(plan: &Plan, model: &Model, policy: Policy) -> Vec<Defect> {
    plan.phases.iter().flat_map(|phase| precisions_of(plan, phase, model, policy)).collect()
}

fn defect(place: Place, what: impl Into<String>, hint: impl Into<String>) -> Defect {
    Defect { invariant: Invariant::Function, place, what: what.into(), hint: hint.into(), violation: None }
}

fn precisions_of(plan: &Plan, phase: &Phase, model: &Model, policy: Policy) -> Vec<Defect> {
    let trouble = |what: String| vec![defect(Place::Phase(phase.kind), what, "")];
    let overrides: Result<Vec<Override>, _> = plan.options.overrides.iter().map(|text| text.parse()).collect();
    let release = TtnnRelease::find(&plan.release).map_err(|e| trouble(e.to_string()));
    let graph = model.to_graph(phase.kind, plan.options.context as usize).map_err(|e| trouble(e.to_string()));
    let (overrides, release, mut graph) = match (overrides, release, graph) {
        (Ok(overrides), Ok(release), Ok(graph)) => (overrides, release, graph),
        (Err(error), _, _) => return trouble(error.to_string()),
        (_, Err(defects), _) | (_, _, Err(defects)) => return defects,
    };
    if let Err(error) = prepare(&mut graph, policy, plan.options.folding) {
        return trouble(error.to_string());
    }
    let decisions = precision(&graph, policy, &overrides, plan.options.proofs, release);
    let mut defects = Vec::new();
    for step in phase.steps() {
        for (compute, operand) in used(step) {
            let Some(weight) = dtype(plan, operand) else { continue };
            let fits = |decision: &Decision| {
                let Precision { weight: dtype, fidelity, fp32_dest_acc } = decision.used;
                let same_numbers = dtype == weight || own(plan, decision, weight);
                same_numbers && (fidelity, fp32_dest_acc) == (compute.fidelity, compute.fp32_dest_acc)
            };
            let allowed: Vec<&Decision> =
                decisions.iter().filter(|(node, _)| is_of(plan, operand, &graph, **node)).map(|(_, d)| d).collect();
            if !allowed.iter().any(|decision| fits(decision)) {
                let what = format!("{}{} of {weight}", compute.fidelity, fp32(compute.fp32_dest_acc));
                let right: Vec<String> = allowed.iter().map(|d| right(d)).collect();
                defects.push(defect(Place::Step(phase.kind, step.name.clone()), what, right.join(" or ")));
            }
        }
    }
    defects
}

/// Whether a step reads in two bits what bfp4 holds, because the plan may run kernels of bitnetc's own. That the matrix is ternary is verified
/// with the plan.
fn own(plan: &Plan, decision: &Decision, weight: DType) -> bool {
    plan.options.own_kernels && (weight, decision.used.weight) == (DType::Bfp2, DType::Bfp4)
}

/// How a step computes, with each of the weights or caches on whose data type a policy has a say.
fn used(step: &Step) -> impl Iterator<Item = (ComputeKernel, &Ref)> {
    let judged = step.op.uses().into_iter().filter(|used| matches!(used.role, Role::Matrix | Role::KeyCache));
    let operands: Vec<&Ref> = judged.map(|used| used.tensor).collect();
    step.op.compute().into_iter().flat_map(move |compute| operands.clone().into_iter().map(move |of| (compute, of)))
}

/// The data type of a weight or a cache.
fn dtype(plan: &Plan, operand: &Ref) -> Option<DType> {
    match operand {
        Ref::Weight(name) => plan.weight(name).map(|weight| weight.spec.dtype),
        Ref::Buffer(name) => plan.buffer(name).map(|buffer| buffer.spec.dtype),
        Ref::Value(_) => None,
    }
}

/// Whether a step that reads this weight or cache computes the product or the attention of a node.
fn is_of(plan: &Plan, operand: &Ref, graph: &Graph, node: NodeId) -> bool {
    let Ref::Weight(matrix) = operand else {
        return matches!(graph.node(node).op, Operation::Attention { .. });
    };
    let (Operation::Linear(linear), Some(Source::Columns(matrices))) =
        (&graph.node(node).op, plan.weight(matrix).map(|weight| &weight.source))
    else {
        return false;
    };
    let is_part = |matrix: &Matrix| linear.parts.iter().any(|part| part.weight.name == matrix.tensor);
    matrices.iter().all(is_part)
}

fn fp32(sums: bool) -> &'static str {
    if sums { " with fp32 sums" } else { "" }
}

fn right(decision: &Decision) -> String {
    let Precision { weight, fidelity, fp32_dest_acc } = decision.used;
    format!("{fidelity}{} of {weight}, as asked or proved", fp32(fp32_dest_acc))
}
