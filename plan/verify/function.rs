//! Invariant `Function`, and the part of `WeightSource` that is about tables: all phases compute one function, which is the plan's.

use crate::defect::Defects;
use crate::function::{Executed, difference, of_phase};
use crate::op::Role;
use crate::{BufferRole, Invariant, Phase, Place, Plan, Ref, Source, Weight};

/// Compares what the phases of a plan compute, which keeps all other invariants, with each other and with what the plan records.
pub fn check(plan: &Plan, defects: &mut Defects) {
    let mut functions = Vec::new();
    for phase in &plan.phases {
        match of_phase(plan, phase) {
            Ok(executed) => functions.push((phase, executed)),
            Err(found) => defects.0.extend(found),
        }
    }
    // A phase that computes what the plan records is right, and so is not to be compared with one that does not.
    let recorded =
        |(_, executed): &(&Phase, Executed)| executed.function.digest(plan.model.layers) == plan.model.function;
    let right = functions.iter().position(recorded);
    let Some((first, expected)) = functions.get(right.unwrap_or(0)) else { return };
    for (phase, found) in functions.iter().filter(|(phase, _)| phase.kind != first.kind) {
        differences(first, expected, phase, found, defects);
    }
    if defects.0.is_empty() && right.is_none() {
        let digest = expected.function.digest(plan.model.layers);
        let what = format!("its phases compute the function {digest}, it is made for {}", plan.model.function);
        let hint = "every phase differs from its model in the same way, or the digest was changed: with the model, the step is told";
        defects.push(Invariant::Function, Place::Plan, what, hint);
    }
}

fn differences(first: &Phase, expected: &Executed, phase: &Phase, found: &Executed, defects: &mut Defects) {
    if let Some(difference) = difference(&found.function, &expected.function) {
        defects.0.push(difference.defect(phase.kind, &first.kind.to_string()));
        return;
    }
    for (role, columns) in &found.caches {
        if !expected.caches.iter().any(|(other, expected)| other == role && expected.is_like(columns)) {
            let what = format!("it writes {role:?} in another order, or times other factors");
            let hint = format!("as {} does, which reads them", first.kind);
            defects.push(Invariant::Function, Place::Phase(phase.kind), what, hint);
        }
    }
}

/// Checks the tables in which rows are looked up, and the number of logits, which the other checks need.
pub fn check_tables(plan: &Plan, defects: &mut Defects) {
    for phase in &plan.phases {
        for step in phase.steps() {
            for operand in step.op.uses().into_iter().filter(|operand| operand.role == Role::Table) {
                let Some(indices) = step.op.operand(Role::Indices) else { continue };
                let table = if let Ref::Weight(name) = operand.tensor { plan.weight(name) } else { None };
                if let Some((what, hint)) = table_problem(plan, indices, table) {
                    defects.push(Invariant::WeightSource, Place::Step(phase.kind, step.name.clone()), what, hint);
                }
            }
        }
        check_logits(plan, phase, defects);
    }
}

/// Tokens are picked of as many logits as there are tokens, and results are those.
fn check_logits(plan: &Plan, phase: &Phase, defects: &mut Defects) {
    let vocab = plan.model.vocab;
    for step in phase.steps() {
        let Some(Ref::Value(logits)) = step.op.operand(Role::Logits) else { continue };
        let value = phase.steps().flat_map(|step| &step.outputs).find(|value| value.name == *logits);
        if let Some(value) = value.filter(|value| value.spec.columns() != vocab) {
            let what = format!("the token is picked of {} logits", value.spec.columns());
            let hint = format!("the vocabulary has {vocab}");
            defects.push(Invariant::Function, Place::Step(phase.kind, step.name.clone()), what, hint);
        }
    }
    let values = phase.steps().flat_map(|step| &step.outputs).filter(|v| phase.results.contains(&v.name));
    for logits in values.filter(|v| v.spec.columns() != vocab) {
        let what = format!("result `{}` has {} columns", logits.name, logits.spec.columns());
        let hint = format!("the logits of {vocab} tokens");
        defects.push(Invariant::Function, Place::Phase(phase.kind), what, hint);
    }
}

/// Tokens are looked up among all of the vocabulary, positions among all of the context.
fn table_problem(plan: &Plan, indices: &Ref, table: Option<&Weight>) -> Option<(String, String)> {
    let Ref::Buffer(name) = indices else { return None };
    let source = table.map(|w| &w.source);
    let (wanted, right) = match plan.buffer(name)?.role {
        BufferRole::Tokens | BufferRole::Prompt(_) => (plan.model.vocab, matches!(source, Some(Source::Rows(_)))),
        BufferRole::RotaryPositions | BufferRole::PromptPositions(_) => {
            (plan.options.context, matches!(source, Some(Source::RotaryTable { .. })))
        }
        // The other buffers are no indices, and the invariant `Dataflow` reports them.
        BufferRole::Positions | BufferRole::PageTable | BufferRole::FirstTokens => return None,
        BufferRole::ChunkPages(_) | BufferRole::ContextPages | BufferRole::ChunkStart => return None,
        BufferRole::LastTileStarts | BufferRole::LastTileEnds => return None,
        BufferRole::TopK | BufferRole::TopP | BufferRole::InverseTemperature => return None,
        BufferRole::Seeds | BufferRole::Generators => return None,
        BufferRole::KeyCache | BufferRole::ValueCache => return None,
    };
    let hint = format!("a table of {wanted} rows made for them");
    let Some(table) = table.filter(|_| right) else {
        return Some((format!("`{name}` are looked up in what is no table of theirs"), hint));
    };
    let rows = table.spec.rows();
    let fits = if matches!(table.source, Source::Rows(_)) { rows == wanted } else { rows >= wanted };
    (!fits).then(|| (format!("`{name}` are looked up in the {rows} rows of `{}`", table.name), hint))
}
