//! Invariant `Function`, and the part of `WeightSource` that is about tables: all phases compute the function of one model.
//!
//! A plan does not contain its model. The numbers that the phases calculate with can be compared with each other; the order of the
//! projections, the number of residual additions and the activation functions cannot be compared with anything, so that a mistake that all
//! phases make is not found here.

use std::collections::{BTreeSet, HashMap};

use crate::defect::Defects;
use crate::op::Role;
use crate::weight::{Matrix, RotaryFunction};
use crate::{BufferRole, Invariant, Op, Phase, PhaseKind, Place, Plan, Ref, Scalar, Source, Step, Value, Weight};

pub fn check(plan: &Plan, defects: &mut Defects) {
    let functions: Vec<Function> =
        plan.phases.iter().map(|phase| function(&Origins::new(plan, phase), defects)).collect();
    let phases = plan.phases.iter().zip(&functions);
    let Some((first, expected)) = phases.clone().next() else { return };
    for (phase, found) in phases.skip(1) {
        for what in expected.differences(found) {
            let hint = format!("what {} does", first.kind);
            defects.push(Invariant::Function, Place::Phase(phase.kind), what, hint);
        }
    }
}

/// Most calls that are followed back to where a value comes from. In a broken plan a value may be made of itself.
const MOST_MOVES: usize = 32;

/// The numbers and tables of a phase that those of any other phase of the plan have to equal.
#[derive(Default)]
struct Function<'a> {
    /// Epsilon and factors of each norm.
    norms: Vec<(&'a Scalar, Option<&'a Source>)>,
    /// Factor of the scores of each attention.
    attention: Vec<&'a Scalar>,
    /// Numbers of the elementwise functions of each sum and product.
    factors: Vec<&'a Scalar>,
    /// Angles of the rotary tables.
    rotary: Vec<Angles<'a>>,
    /// Checkpoint tensors that are multiplied by.
    matrices: BTreeSet<&'a str>,
}

impl Function<'_> {
    fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if self.norms != other.norms {
            let epsilons =
                |norms: &[(&Scalar, Option<&Source>)]| norms.iter().map(|(e, _)| e.value).collect::<Vec<_>>();
            found.push(format!(
                "its norms have other epsilons, scales or factors: epsilons {:?} instead of {:?}",
                epsilons(&other.norms),
                epsilons(&self.norms)
            ));
        }
        if self.attention != other.attention {
            found.push(format!("its attention has the factors {:?} instead of {:?}", other.attention, self.attention));
        }
        if self.factors != other.factors {
            found.push("its sums and products have other factors or scales".into());
        }
        if self.rotary != other.rotary {
            found.push("it rotates by other frequencies or amplitudes".into());
        }
        if self.matrices != other.matrices {
            let differing: Vec<_> = self.matrices.symmetric_difference(&other.matrices).collect();
            found.push(format!("it multiplies by other matrices: {differing:?}"));
        }
        found
    }
}

/// Where the values of a phase come from.
struct Origins<'a> {
    plan: &'a Plan,
    phase: &'a Phase,
    makers: HashMap<&'a str, &'a Step>,
}

impl<'a> Origins<'a> {
    fn new(plan: &'a Plan, phase: &'a Phase) -> Self {
        let makers = phase.steps().flat_map(|step| step.outputs.iter().map(move |v| (v.name.as_str(), step)));
        Origins { plan, phase, makers: makers.collect() }
    }

    fn maker(&self, operand: &Ref) -> Option<&'a Step> {
        if let Ref::Value(name) = operand { self.makers.get(name.as_str()).copied() } else { None }
    }

    /// The tensor that an operand was moved, cut or looked up from.
    fn of(&self, mut operand: &'a Ref) -> &'a Ref {
        for _ in 0..MOST_MOVES {
            let source = self.maker(operand).and_then(|step| step.op.uses().into_iter().find(|u| u.role.is_source()));
            let Some(source) = source else { break };
            operand = source.tensor;
        }
        operand
    }

    fn weight(&self, operand: &'a Ref) -> Option<&'a Weight> {
        if let Ref::Weight(name) = self.of(operand) { self.plan.weight(name) } else { None }
    }

    /// The output that an operand names.
    fn value(&self, operand: &Ref) -> Option<&'a Value> {
        self.maker(operand)?.outputs.iter().find(|value| value.name == operand.name())
    }

    /// The checkpoint matrices of a weight whose columns stand side by side.
    fn columns(&self, weight: &'a Ref) -> &'a [Matrix] {
        match self.weight(weight).map(|w| &w.source) {
            Some(Source::Columns(matrices)) => matrices,
            Some(Source::Rows(_) | Source::Vectors(_) | Source::Ones { .. }) | None => &[],
            Some(Source::RotaryTable { .. } | Source::RotaryTransform) => &[],
        }
    }

    /// The checkpoint matrices that the columns of an operand are computed with, left to right.
    fn matrices(&self, operand: &'a Ref) -> Vec<&'a Matrix> {
        let Some(maker) = self.maker(self.of(operand)) else { return Vec::new() };
        let parts = maker.op.uses().into_iter().filter(|part| part.role == Role::Part);
        let products = parts.filter_map(|part| self.maker(self.of(part.tensor))).chain([maker]);
        products.filter_map(|step| step.op.operand(Role::Matrix)).flat_map(|weight| self.columns(weight)).collect()
    }
}

/// The part of a phase's function that a plan tells; where a step computes nothing sensible, `defects` says so.
fn function<'a>(origins: &Origins<'a>, defects: &mut Defects) -> Function<'a> {
    let (plan, phase) = (origins.plan, origins.phase);
    let mut function = Function::default();
    for step in phase.steps() {
        function.numbers(&step.op, origins);
        for operand in step.op.uses() {
            if let Some((invariant, what, hint)) = function.operand(operand.role, operand.tensor, &step.op, origins) {
                defects.push(invariant, Place::Step(phase.kind, step.name.clone()), what, hint);
            }
        }
    }
    let values = phase.steps().flat_map(|step| &step.outputs).filter(|v| phase.results.contains(&v.name));
    for logits in values.filter(|v| v.spec.columns() != plan.model.vocab) {
        let what = format!("result `{}` has {} columns", logits.name, logits.spec.columns());
        let hint = format!("the logits of {} tokens", plan.model.vocab);
        defects.push(Invariant::Function, Place::Phase(phase.kind), what, hint);
    }
    function
}

/// A broken invariant: which one, what was found, what would be right.
type Problem = (Invariant, String, String);

impl<'a> Function<'a> {
    /// Adds the numbers a call computes with, to the list of what they are for.
    fn numbers(&mut self, op: &'a Op, origins: &Origins<'a>) {
        let scalars = op.scalars();
        match (op.operand(Role::Gamma), op.operand(Role::Queries)) {
            (Some(gamma), _) => {
                let source = origins.weight(gamma).map(|w| &w.source);
                self.norms.extend(scalars.into_iter().map(|epsilon| (epsilon, source)));
            }
            (None, Some(_)) => self.attention.extend(scalars),
            (None, None) => self.factors.extend(scalars),
        }
    }

    /// Adds what an operand contributes; or tells why it is not what its role asks for.
    fn operand(&mut self, role: Role, tensor: &'a Ref, op: &'a Op, origins: &Origins<'a>) -> Option<Problem> {
        match role {
            Role::Table => {
                let indices = op.operand(Role::Indices)?;
                let (what, hint) = table_problem(origins.plan, indices, origins.weight(tensor))?;
                Some((Invariant::WeightSource, what, hint))
            }
            Role::Matrix => {
                self.matrices.extend(origins.columns(tensor).iter().map(|m| m.tensor.as_str()));
                None
            }
            Role::Projection => {
                let what = pairs_problem(&origins.matrices(tensor))?;
                Some((Invariant::Function, what, "those of queries and keys, or none".into()))
            }
            Role::Cosines => {
                let sines = op.operand(Role::Sines)?;
                let Some(rotation) = rotation(origins, tensor, sines) else {
                    let what = format!("`{tensor}` and `{sines}` are no cosines and sines of the same angles");
                    return Some((Invariant::Function, what, "rows of two tables with one list of frequencies".into()));
                };
                if !self.rotary.contains(&rotation) {
                    self.rotary.push(rotation);
                }
                None
            }
            Role::Logits => {
                let vocab = origins.plan.model.vocab;
                let logits = origins.value(tensor).filter(|v| v.spec.columns() != vocab)?;
                let what = format!("the token is picked of {} logits", logits.spec.columns());
                Some((Invariant::Function, what, format!("the vocabulary has {vocab}")))
            }
            Role::Tensor | Role::Moved | Role::Cut | Role::Part | Role::Indices | Role::Gamma | Role::Sines => None,
            Role::Queries | Role::KeyCache | Role::ValueCache | Role::Cache => None,
            Role::TokenRows | Role::PromptRows | Role::Positions | Role::PageTable => None,
            Role::ChunkPages | Role::ContextPages | Role::ChunkStart | Role::Starts | Role::Ends => None,
            Role::NextToken | Role::Counter => None,
        }
    }
}

/// Scores are products of queries and keys, so the rotated pairs of both lie alike; values are not rotated.
fn pairs_problem(matrices: &[&Matrix]) -> Option<String> {
    let [q, k, v] = matrices else { return None };
    let alike = q.rotated == k.rotated && v.rotated == 0;
    (!alike).then(|| format!("the pairs of `{}`, `{}` and `{}` are not ordered alike", q.tensor, k.tensor, v.tensor))
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

/// Frequencies, amplitude, and the frequencies beyond a length. Which rows have them depends on the phase.
type Angles<'a> = (&'a [f64], f64, Option<(u32, &'a [f64])>);

/// The angles, when cosines and sines have the same.
fn rotation<'a>(origins: &Origins<'a>, cos: &'a Ref, sin: &'a Ref) -> Option<Angles<'a>> {
    // A prompt of more tokens than the first frequencies are for is one longer sequence.
    let tokens = match origins.phase.kind {
        PhaseKind::Prefill { tokens } => tokens,
        PhaseKind::Decode { .. } => 0,
    };
    let table = |operand, wanted| match &origins.weight(operand)?.source {
        Source::RotaryTable { function, frequencies, amplitude, long, .. } => {
            let fits =
                *function == wanted && long.as_ref().is_none_or(|long| long.one_sequence == (tokens > long.beyond));
            let long = long.as_ref().map(|long| (long.beyond, long.frequencies.as_slice()));
            fits.then_some((frequencies.as_slice(), *amplitude, long))
        }
        Source::Columns(_) | Source::Rows(_) | Source::Vectors(_) | Source::Ones { .. } => None,
        Source::RotaryTransform => None,
    };
    let (cos, sin) = (table(cos, RotaryFunction::Cos)?, table(sin, RotaryFunction::Sin)?);
    (cos == sin).then_some(cos)
}
