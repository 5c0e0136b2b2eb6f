//! Invariant `Function`, and what `WeightSource` says of tables: the phases compute one model's function, as far as a plan tells.
//!
//! What a plan does not tell is the model: that a projection is followed by another, how often the residual stream is added to, which
//! activation there is. Two phases that make the same mistake agree.

use std::collections::{BTreeSet, HashMap};

use crate::defect::Defects;
use crate::op::{CreateHeads, CreateHeadsDecode, Rotary, RotaryDecode, RotaryFused, Sdpa, SdpaDecode};
use crate::weight::{Matrix, RotaryFunction};
use crate::{BufferRole, Invariant, Op, Phase, Place, Plan, Ref, Scalar, Source, Step, Weight};

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

/// Calls looked through for where a value comes from; a value may be made of itself.
const MOST_MOVES: usize = 32;

/// What two phases of a plan have in common.
#[derive(Default)]
struct Function<'a> {
    /// Epsilon and factors of each norm.
    norms: Vec<(&'a Scalar, Option<&'a Source>)>,
    /// Factor of the scores of each attention.
    attention: Vec<&'a Scalar>,
    /// Numbers of the elementwise functions of each sum and product.
    factors: Vec<&'a Scalar>,
    /// Frequencies and amplitude of the rotary tables.
    rotary: Vec<(&'a [f64], f64)>,
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

    /// What an operand is moved, cut or looked up from.
    fn of(&self, mut operand: &'a Ref) -> &'a Ref {
        for _ in 0..MOST_MOVES {
            operand = match self.maker(operand).map(|step| &step.op) {
                Some(Op::ToMemoryConfig(args)) => &args.input,
                Some(Op::ToLayout(args)) => &args.input,
                Some(Op::Typecast(args)) => &args.input,
                Some(Op::View(args)) => &args.input,
                Some(Op::Transpose(args)) => &args.input,
                Some(Op::Slice(args)) => &args.input,
                Some(Op::Embedding(args)) => &args.table,
                _ => break,
            };
        }
        operand
    }

    fn weight(&self, operand: &'a Ref) -> Option<&'a Weight> {
        if let Ref::Weight(name) = self.of(operand) { self.plan.weight(name) } else { None }
    }

    /// The checkpoint matrices that columns are computed with, left to right.
    fn matrices(&self, operand: &'a Ref) -> Vec<&'a Matrix> {
        let columns = |operand| match self.weight(operand).map(|w| &w.source) {
            Some(Source::Columns(matrices)) => matrices.as_slice(),
            _ => &[],
        };
        match self.maker(self.of(operand)).map(|step| &step.op) {
            Some(Op::Matmul(args)) => columns(&args.b).iter().collect(),
            Some(Op::Concat(args)) => {
                let parts = args.inputs.iter().filter_map(|input| self.maker(self.of(input)));
                let weights =
                    parts.filter_map(|step| if let Op::Matmul(args) = &step.op { Some(&args.b) } else { None });
                weights.flat_map(columns).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// What a phase computes; what is wrong within it goes to `defects`.
fn function<'a>(origins: &Origins<'a>, defects: &mut Defects) -> Function<'a> {
    let (plan, phase) = (origins.plan, origins.phase);
    let mut function = Function::default();
    for step in phase.steps() {
        let mut bad = |invariant, what: String, hint: String| {
            defects.push(invariant, Place::Step(phase.kind, step.name.clone()), what, hint);
        };
        match &step.op {
            Op::Embedding(args) => {
                if let Some((what, hint)) = table_problem(plan, &args.indices, origins.weight(&args.table)) {
                    bad(Invariant::WeightSource, what, hint);
                }
            }
            Op::RmsNorm(args) => {
                function.norms.push((&args.epsilon, origins.weight(&args.gamma).map(|w| &w.source)));
            }
            Op::Matmul(args) => {
                if let Some(Source::Columns(matrices)) = origins.weight(&args.b).map(|w| &w.source) {
                    function.matrices.extend(matrices.iter().map(|m| m.tensor.as_str()));
                }
            }
            Op::CreateHeadsDecode(CreateHeadsDecode { input, .. }) | Op::CreateHeads(CreateHeads { input, .. }) => {
                if let [q, k, v] = origins.matrices(input)[..]
                    && (q.rotate_pairs != k.rotate_pairs || v.rotate_pairs)
                {
                    let what =
                        format!("the pairs of `{}`, `{}` and `{}` are not ordered alike", q.tensor, k.tensor, v.tensor);
                    bad(Invariant::Function, what, "those of queries and keys, or none".into());
                }
            }
            Op::RotaryFused(RotaryFused { cos, sin, .. })
            | Op::RotaryDecode(RotaryDecode { cos, sin, .. })
            | Op::Rotary(Rotary { cos, sin, .. }) => match rotation(origins, cos, sin) {
                Some(rotation) if function.rotary.contains(&rotation) => {}
                Some(rotation) => function.rotary.push(rotation),
                None => {
                    let what = format!("`{cos}` and `{sin}` are no cosines and sines of the same angles");
                    bad(Invariant::Function, what, "rows of two tables with one list of frequencies".into());
                }
            },
            Op::SdpaDecode(SdpaDecode { scale, .. }) | Op::Sdpa(Sdpa { scale, .. }) => {
                function.attention.push(scale);
            }
            Op::Binary(_) => function.factors.extend(step.op.scalars()),
            Op::ArgMax(args) => {
                let spec =
                    origins.maker(&args.input).and_then(|s| s.outputs.iter().find(|v| v.name == args.input.name()));
                if let Some(logits) = spec.filter(|v| v.spec.columns() != plan.model.vocab) {
                    let what = format!("the token is picked of {} logits", logits.spec.columns());
                    bad(Invariant::Function, what, format!("the vocabulary has {}", plan.model.vocab));
                }
            }
            _ => {}
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

/// Tokens are looked up among all of the vocabulary, positions among all of the context.
fn table_problem(plan: &Plan, indices: &Ref, table: Option<&Weight>) -> Option<(String, String)> {
    let Ref::Buffer(name) = indices else { return None };
    let (wanted, right) = match (plan.buffer(name)?.role, table.map(|w| &w.source)) {
        (BufferRole::Tokens | BufferRole::Prompt(_), Some(Source::Rows(_))) => (plan.model.vocab, true),
        (BufferRole::Tokens | BufferRole::Prompt(_), _) => (plan.model.vocab, false),
        (BufferRole::RotaryPositions, Some(Source::RotaryTable { .. })) => (plan.options.context, true),
        (BufferRole::RotaryPositions, _) => (plan.options.context, false),
        // Other buffers are no indices: `Dataflow` reports them.
        _ => return None,
    };
    let hint = format!("a table of {wanted} rows made for them");
    let Some(table) = table.filter(|_| right) else {
        return Some((format!("`{name}` are looked up in what is no table of theirs"), hint));
    };
    let rows = table.spec.rows();
    let fits = if matches!(table.source, Source::Rows(_)) { rows == wanted } else { rows >= wanted };
    (!fits).then(|| (format!("`{name}` are looked up in the {rows} rows of `{}`", table.name), hint))
}

/// Frequencies and amplitude, when cosines and sines have the same.
fn rotation<'a>(origins: &Origins<'a>, cos: &'a Ref, sin: &'a Ref) -> Option<(&'a [f64], f64)> {
    let table = |operand, wanted| match &origins.weight(operand)?.source {
        Source::RotaryTable { function, frequencies, amplitude, .. } if *function == wanted => {
            Some((frequencies.as_slice(), *amplitude))
        }
        _ => None,
    };
    let (cos, sin) = (table(cos, RotaryFunction::Cos)?, table(sin, RotaryFunction::Sin)?);
    (cos == sin).then_some(cos)
}
