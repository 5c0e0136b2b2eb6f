//! The padding of every value of a phase, from the padding of its weights: one rule per op.

use std::collections::HashMap;

use super::{Padding, text};
use crate::op::{Binary, BinaryKind, Kept, RmsNorm, Slice};
use crate::walk::Context;
use crate::weight::Matrix;
use crate::{Op, Phase, Ref, Source, Step, TensorSpec, Unary};

/// The paddings of a phase.
#[derive(Debug, Default)]
pub struct Followed {
    /// Of the results of each step, in the order of [`Phase::steps`]. All results of a call are padded alike.
    pub steps: Vec<Option<Padding>>,
    /// Of the rows that are written into each cache, by the buffer's name.
    pub caches: Vec<(String, Option<Padding>)>,
    /// The steps that would let padding count, or fill it: the step's name and what is wrong with it.
    pub problems: Vec<(String, Problem)>,
}

/// Something that was found and what would be right.
pub type Problem = (String, String);

type Rule = Result<Option<Padding>, Problem>;

/// Follows the padding through `phase`. After a step with a problem its results count as padded as they are declared.
pub fn follow(context: Context<'_>, phase: &Phase) -> Followed {
    let mut follower = Follower::new(context, phase);
    for step in phase.steps() {
        let padding = match follower.rule(&step.op) {
            Ok(padding) => padding,
            Err(problem) => {
                follower.found.problems.push((step.name.clone(), problem));
                step.outputs.first().and_then(|value| value.padding)
            }
        };
        follower.found.steps.push(padding);
        for (value, padding) in step.outputs.iter().zip(std::iter::repeat(padding)) {
            follower.values.insert(&value.name, padding);
        }
    }
    let results = phase.results.iter().filter_map(|name| Some((name, (*follower.values.get(name.as_str())?)?)));
    for (name, padding) in results.collect::<Vec<_>>() {
        let step = follower.makers.get(name.as_str()).map_or_else(String::new, |step| step.name.clone());
        let problem = (format!("result `{name}` is padded ({padding})"), "the model's columns alone".into());
        follower.found.problems.push((step, problem));
    }
    follower.found
}

struct Follower<'a> {
    specs: HashMap<&'a str, &'a TensorSpec>,
    sources: HashMap<&'a str, &'a Source>,
    makers: HashMap<&'a str, &'a Step>,
    values: HashMap<&'a str, Option<Padding>>,
    found: Followed,
}

impl<'a> Follower<'a> {
    fn new(context: Context<'a>, phase: &'a Phase) -> Self {
        let made = || phase.steps().flat_map(|step| step.outputs.iter().map(move |value| (value, step)));
        let weights = context.weights.iter().map(|w| (w.name.as_str(), &w.spec));
        Follower {
            specs: weights.chain(made().map(|(value, _)| (value.name.as_str(), &value.spec))).collect(),
            sources: context.weights.iter().map(|w| (w.name.as_str(), &w.source)).collect(),
            makers: made().map(|(value, step)| (value.name.as_str(), step)).collect(),
            values: HashMap::new(),
            found: Followed::default(),
        }
    }

    /// The padding of an operand: of a value as it was made, of a weight as its source says.
    fn of(&self, operand: &Ref) -> Option<Padding> {
        match operand {
            Ref::Value(name) => self.values.get(name.as_str()).copied().flatten(),
            Ref::Weight(name) => match self.sources.get(name.as_str())? {
                Source::Rows(matrix) => matrix.inputs?.added(),
                // Vectors that are padded otherwise than each other are a problem of the call that reads them.
                Source::Vectors(parts) => beside(parts.iter().map(|part| part.padding)).ok()?,
                Source::Columns(_) | Source::Ones { .. } | Source::RotaryTable { .. } | Source::RotaryTransform => None,
            },
            Ref::Buffer(name) => {
                self.found.caches.iter().find(|(cache, _)| cache == name).and_then(|(_, padding)| *padding)
            }
        }
    }

    fn columns(&self, operand: &Ref) -> u32 {
        self.specs.get(operand.name()).map_or(0, |spec| spec.columns())
    }

    /// The padding of a call's results.
    fn rule(&mut self, op: &Op) -> Rule {
        match op {
            Op::Embedding(args) => Ok(self.of(&args.table)),
            Op::RmsNorm(args) => self.norm(args),
            Op::Matmul(args) => self.product(&args.a, &args.b),
            Op::QuantizeRows(args) => Ok(self.of(&args.input)),
            Op::AddRows(args) => self.alike(&[&args.a, &args.b]).map(|_| None),
            Op::TernaryLinear(args) => self.product(&args.a, &args.b),
            Op::TernaryGated(args) => {
                let gate = self.product(&args.a, &args.gate)?;
                let up = self.product(&args.a, &args.up)?;
                if gate == up { Ok(gate) } else { Err(differ(&args.gate, gate, &args.up, up)) }
            }
            Op::CreateHeadsDecode(args) => self.split(&args.input, args.heads, args.kv_heads),
            Op::CreateHeads(args) => self.split(&args.input, args.heads, args.kv_heads),
            Op::RotaryFused(args) => {
                self.turned(&args.q).and(self.turned(&args.k)).and(self.alike(&[&args.q, &args.k]))
            }
            Op::RotaryDecode(args) => self.turned(&args.input),
            Op::Rotary(args) => self.turned(&args.input),
            Op::CacheUpdate(args) => {
                self.cached(&args.k_cache, &args.k)?;
                self.cached(&args.v_cache, &args.v)
            }
            Op::CacheUpdateOne(args) => self.cached(&args.cache, &args.input),
            Op::CacheFill(args) => self.cached(&args.cache, &args.input),
            Op::SdpaDecode(args) => self.alike(&[&args.q, &args.k_cache, &args.v_cache]),
            Op::Sdpa(args) => self.alike(&[&args.q, &args.k_cache, &args.v_cache]),
            Op::ConcatHeadsDecode(args) => Ok(self.merged(&args.input, args.heads)),
            Op::ConcatHeads(args) => {
                let heads = self.specs.get(args.input.name()).and_then(|spec| spec.shape.get(1));
                Ok(self.merged(&args.input, heads.copied().unwrap_or(0)))
            }
            Op::ToMemoryConfig(args) => Ok(self.of(&args.input)),
            Op::ToLayout(args) => Ok(self.of(&args.input)),
            Op::Typecast(args) => Ok(self.of(&args.input)),
            Op::View(args) => self.kept_columns(&args.input, args.shape.last() == Some(&self.columns(&args.input))),
            Op::Transpose(args) => {
                let last =
                    self.specs.get(args.input.name()).map_or(0, |spec| spec.shape.len() as u32).saturating_sub(1);
                self.kept_columns(&args.input, args.dims.0 != last && args.dims.1 != last)
            }
            Op::Slice(args) => self.cut(args),
            Op::SliceAt(args) => Ok(self.of(&args.input)),
            Op::Concat(args) => self.joined(&args.inputs),
            Op::Binary(args) => self.combined(args),
            Op::Abs(args) => Ok(self.of(&args.input)),
            Op::RowMax(args) => self.unpadded(&args.input, self.is_magnitude(&args.input)),
            Op::ArgMax(args) => self.unpadded(&args.input, false),
            Op::TopK(args) => self.unpadded(&args.input, false),
            Op::BestColumn(args) => self.unpadded(&args.input, false),
            Op::Reshape(args) => self.unpadded(&args.input, false),
            Op::GatherRows(args) => self.unpadded(&args.table, false),
            Op::AddIntegers(_) | Op::TimesInteger(_) | Op::CopyInto(_) => Ok(None),
            Op::ManualSeed(_) | Op::Sampling(_) | Op::PlusOne(_) | Op::Deallocate(_) => Ok(None),
        }
    }

    /// A norm over padded columns counts the zeros in its mean, for which its factors make up.
    fn norm(&self, args: &RmsNorm) -> Rule {
        let padding = self.of(&args.input);
        let share = padding.map_or(1.0, Padding::share).sqrt();
        let (factor, columns) = match self.sources.get(args.gamma.name()) {
            Some(Source::Vectors(parts)) => match parts.as_slice() {
                [gamma] => (gamma.factor, gamma.padding.and_then(Padding::added)),
                _ => return Ok(padding),
            },
            Some(Source::Ones { factor, .. }) => (*factor, padding),
            Some(Source::Columns(_) | Source::Rows(_) | Source::RotaryTable { .. } | Source::RotaryTransform)
            | None => {
                return Ok(padding);
            }
        };
        if columns != padding {
            return Err(differ(&args.gamma, columns, &args.input, padding));
        }
        // A factor that is no number is a defect of the weight, whatever it multiplies.
        if factor.is_finite() && (factor - share).abs() > 1e-12 {
            let what = format!("the norm's factors are times {factor}, its columns {}", text(padding));
            return Err((what, format!("{share}, the root of the model's share of the columns")));
        }
        Ok(padding)
    }

    /// The rows of the matrix are padded as the activations are.
    fn product(&self, a: &Ref, b: &Ref) -> Rule {
        let input = self.of(a);
        let Some(Source::Columns(matrices)) = self.sources.get(b.name()) else {
            return self.unpadded(a, false);
        };
        for matrix in matrices {
            let rows = matrix.inputs.and_then(Padding::added);
            if rows != input {
                return Err(differ(b, rows, a, input));
            }
        }
        outputs(matrices)
    }

    /// Heads of the projection are cut between their paddings.
    fn split(&self, projection: &Ref, heads: u32, kv_heads: u32) -> Rule {
        let Some(padding) = self.of(projection) else { return Ok(None) };
        let all = u64::from(heads) + 2 * u64::from(kv_heads);
        if u64::from(padding.groups) != all {
            let what = format!("`{projection}` is padded ({padding}), and cut into {all} heads");
            return Err((what, "padding after each head".into()));
        }
        Ok(Some(Padding { groups: 1, ..padding }))
    }

    /// Adjacent columns are turned together, so that a pair must not be half padding.
    fn turned(&self, heads: &Ref) -> Rule {
        let padding = self.of(heads);
        match padding {
            Some(padding) if padding.from % 2 != 0 || padding.groups != 1 => {
                Err((format!("`{heads}` is padded ({padding}), which parts a pair of columns"), "whole pairs".into()))
            }
            Some(_) | None => Ok(padding),
        }
    }

    fn cached(&mut self, cache: &Ref, rows: &Ref) -> Rule {
        let padding = self.of(rows);
        self.found.caches.push((cache.name().to_owned(), padding));
        Ok(None)
    }

    fn alike(&self, operands: &[&Ref]) -> Rule {
        let [first, rest @ ..] = operands else { return Ok(None) };
        let padding = self.of(first);
        match rest.iter().find(|other| self.of(other) != padding) {
            Some(other) => Err(differ(other, self.of(other), first, padding)),
            None => Ok(padding),
        }
    }

    fn merged(&self, input: &Ref, heads: u32) -> Option<Padding> {
        self.of(input).map(|padding| Padding { groups: padding.groups.saturating_mul(heads), ..padding })
    }

    fn kept_columns(&self, input: &Ref, kept: bool) -> Rule {
        if kept { Ok(self.of(input)) } else { self.unpadded(input, false) }
    }

    /// The first columns end within the padding of a row, or leave none of it.
    fn cut(&self, args: &Slice) -> Rule {
        let padding = self.of(&args.input);
        match (args.kept, padding) {
            (Kept::Columns(count), Some(Padding { groups: 1, from, .. })) if count <= from => Ok(None),
            (Kept::Columns(to), Some(Padding { groups: 1, from, .. })) => Ok(Some(Padding { groups: 1, from, to })),
            (Kept::Columns(_), Some(_)) => self.unpadded(&args.input, false),
            (Kept::Rows(..), _) | (_, None) => Ok(padding),
        }
    }

    /// Side by side, only the last part may be padded, or all of them may be groups that are padded alike.
    fn joined(&self, parts: &[Ref]) -> Rule {
        if let Ok(Some(padding)) = beside(parts.iter().map(|part| self.of(part))) {
            return Ok(Some(padding));
        }
        let Some((last, before)) = parts.split_last() else { return Ok(None) };
        for part in before {
            self.unpadded(part, false)?;
        }
        let Some(padding) = self.of(last) else { return Ok(None) };
        let left: u32 = before.iter().map(|part| self.columns(part)).sum();
        if padding.groups != 1 {
            return self.unpadded(last, false);
        }
        Ok(Some(Padding { groups: 1, from: left.saturating_add(padding.from), to: left.saturating_add(padding.to) }))
    }

    /// Both operands are padded alike, or the right one is a number for each row; what is computed of their zeros is 0.
    fn combined(&self, args: &Binary) -> Rule {
        let padding = self.of(&args.a);
        let by_row = self.columns(&args.b) == 1 && self.columns(&args.a) != 1;
        if !by_row {
            self.alike(&[&args.a, &args.b])?;
        }
        let Some(padding) = padding else { return Ok(None) };
        let a = at(0.0, &args.a_activations);
        // Any number of a row may stand here; a sum takes it into the padding, and a product with 0 does not.
        let b = if by_row { 1.0 } else { at(0.0, &args.b_activations) };
        let sum = match args.kind {
            BinaryKind::Add => a + b,
            BinaryKind::Mul => a * b,
        };
        let made = at(sum, &args.activations);
        if made != 0.0 {
            return Err((format!("fills the padding ({padding}) with {made}"), "functions that are 0 at 0".into()));
        }
        Ok(if args.in_place() { None } else { Some(padding) })
    }

    /// True when no element of a value is below 0, so that zeros change no maximum.
    fn is_magnitude(&self, operand: &Ref) -> bool {
        let maker = self.makers.get(operand.name()).map(|step| &step.op);
        match maker {
            Some(Op::Abs(_)) => true,
            Some(Op::Binary(args)) => makes_magnitudes(&args.activations),
            Some(Op::ToMemoryConfig(moved)) if moved.input != *operand => self.is_magnitude(&moved.input),
            Some(_) | None => false,
        }
    }

    /// The operand has no padding, or it does not matter.
    fn unpadded(&self, operand: &Ref, harmless: bool) -> Rule {
        match self.of(operand) {
            Some(padding) if !harmless => {
                Err((format!("padding of `{operand}` ({padding}) would count"), "the model's columns alone".into()))
            }
            Some(_) | None => Ok(None),
        }
    }
}

/// The padding of groups side by side that are padded alike.
fn beside(parts: impl Iterator<Item = Option<Padding>>) -> Rule {
    let mut all: Option<Option<Padding>> = None;
    for found in parts.map(|padding| padding.and_then(Padding::added)) {
        all = match (all, found) {
            (None, found) => Some(found),
            (Some(None), None) => Some(None),
            (Some(Some(all)), Some(found)) if (found.from, found.to) == (all.from, all.to) => {
                Some(Some(Padding { groups: all.groups.saturating_add(found.groups), ..all }))
            }
            (Some(first), found) => {
                let what = format!("parts side by side are {} and {}", text(first), text(found));
                return Err((what, "parts padded alike".into()));
            }
        };
    }
    Ok(all.flatten())
}

/// The padding of the matrices' columns side by side.
fn outputs(matrices: &[Matrix]) -> Rule {
    let mut all: Option<Padding> = None;
    let added = |matrix: &Matrix| matrix.outputs.and_then(Padding::added);
    let [first, ..] = matrices else { return Ok(None) };
    for matrix in matrices {
        match (added(matrix), &mut all) {
            (None, _) if added(first).is_none() => {}
            (Some(padding), Some(all)) if (padding.from, padding.to) == (all.from, all.to) => {
                all.groups = all.groups.saturating_add(padding.groups);
            }
            (Some(padding), none @ None) if added(first).is_some() => *none = Some(padding),
            (found, _) => {
                let what = format!("`{}` is padded otherwise than `{}`: {}", matrix.tensor, first.tensor, text(found));
                return Err((what, "columns of one weight padded alike".into()));
            }
        }
    }
    Ok(all)
}

/// True when the functions leave no number below 0: a magnitude, and then positive factors alone.
fn makes_magnitudes(functions: &[Unary]) -> bool {
    let factor = |function: &&Unary| matches!(function, Unary::MulScalar(by) if by.value > 0.0);
    functions.iter().rev().find(|function| !factor(function)).is_some_and(|last| *last == Unary::Abs)
}

/// The result of elementwise functions at `x`, with the weights' scales, which are above 0, taken as 1.
fn at(x: f64, functions: &[Unary]) -> f64 {
    functions.iter().fold(x, |x, function| match function {
        Unary::Relu => x.max(0.0),
        Unary::Square => x * x,
        Unary::Silu => x / (1.0 + (-x).exp()),
        Unary::Recip => 1.0 / x,
        Unary::MulScalar(scalar) => x * scalar.value,
        Unary::MaxScalar(scalar) => x.max(scalar.value),
        Unary::Round => x.round_ties_even(),
        Unary::Clamp(low, high) => x.max(f64::from(*low)).min(f64::from(*high)),
        Unary::Abs => x.abs(),
        Unary::Power(power) => x.powf(f64::from(*power)),
    })
}

fn differ(one: &Ref, found: Option<Padding>, other: &Ref, wanted: Option<Padding>) -> Problem {
    let what = format!("`{one}` is {}, `{other}` {}", text(found), text(wanted));
    (what, "both padded alike".into())
}
