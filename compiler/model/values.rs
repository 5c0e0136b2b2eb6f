//! Checks of the values of a model file: each is defined once, is used, and has a type that fits its uses.

use super::building::{Building, Defined, Spot, Types};
use super::error::ErrorKind;
use super::ops::{Lost, Parsed};
use super::syntax::Raw;
use crate::graph::{Heads, Operation, PhaseKind, Role, Scalar, Section, Shape, ValueType, WeightRef};
use std::collections::HashSet;
use std::ops::Range;

/// The phases with which shapes are checked. Their sizes differ from each other and from 1, so that a mix-up is noticed.
const PHASES: [PhaseKind; 2] = [PhaseKind::Decode { batch: 2 }, PhaseKind::Prefill { tokens: 3 }];

/// Operations of one name that underscores tell apart.
const MOST_ALIKE: usize = 8;

impl Building<'_> {
    /// Marks a value as used and returns its types.
    pub(super) fn used(&mut self, name: &str, span: Range<usize>) -> Types {
        let section = self.section;
        match self.values.get_mut(name) {
            Some(value) if value.section == section => {
                value.used = true;
                value.types
            }
            other => {
                let found = match other {
                    Some(_) => format!("`{name}` belongs to another block"),
                    None => format!("`{name}` is not defined before this"),
                };
                let expected = self.visible();
                self.reader.error(ErrorKind::Undefined, span, "undefined value", found, expected);
                None
            }
        }
    }

    /// The last eight of the values that can be used at this point, for messages.
    fn visible(&self) -> String {
        let here = self.values.iter().rev().filter(|(_, v)| v.section == self.section).map(|(name, _)| name.as_str());
        let mut last: Vec<_> = here.take(8).collect();
        last.reverse();
        if last.is_empty() { "no value is defined yet".into() } else { format!("values here: {}", last.join(", ")) }
    }

    pub(super) fn define(&mut self, name: &str, span: Range<usize>, types: Types) {
        if let Some(first) = self.values.get(name) {
            let line = self.reader.lines.line(first.span.start);
            let found = format!("`{name}` is defined in line {line} already");
            self.reader.error(
                ErrorKind::Duplicate,
                span,
                "duplicate value",
                found,
                "a name of its own for every value",
            );
            return;
        }
        self.reader.name(name, span.clone());
        self.values.insert(name.to_string(), Defined { types, span, section: self.section, used: false });
    }

    pub(super) fn statement(&mut self, mut parsed: Parsed) {
        let inputs: Vec<_> =
            parsed.statement.inputs.clone().iter().zip(&parsed.inputs).map(|(n, s)| self.used(n, s.clone())).collect();
        if let Operation::Attention { scale } = &mut parsed.statement.op
            && parsed.default_scale
            && let Some(Some([ValueType { shape: Shape::Heads { head_dim, .. }, .. }, _])) = inputs.first()
        {
            *scale = Scalar::number(1.0 / (*head_dim as f64).sqrt());
        }
        let outputs = match self.infer(&parsed, &inputs) {
            Some([decode, prefill]) => decode.into_iter().zip(prefill).map(|(d, p)| Some([d, p])).collect(),
            None => guess(&parsed.statement.op, &inputs),
        };
        for (at, (name, span)) in parsed.statement.outputs.clone().iter().zip(&parsed.outputs).enumerate() {
            self.define(name, span.clone(), outputs.get(at).copied().flatten());
        }
        self.special(&parsed);
        self.scaled(&parsed);
        self.bind(&parsed);
        let mut name = match parsed.statement.outputs.as_slice() {
            [one] => one.clone(),
            _ => kind(&parsed.statement.op).to_string(),
        };
        // Underscores tell the few operations of one name in a sound file apart, a number those of a file that repeats one without end.
        for _ in 0..MOST_ALIKE {
            if !self.names.contains(&name) {
                break;
            }
            name.push('_');
        }
        if !self.names.insert(name.clone()) {
            name.push_str(&self.statements.len().to_string());
            self.names.insert(name.clone());
        }
        self.spots.insert(name.clone(), Spot { span: parsed.span, inputs: parsed.inputs });
        parsed.statement.name = name;
        self.statements.push(parsed.statement);
    }

    /// Handles an operation that cannot be read: its names count as used and defined, so that its mistake is reported only once.
    pub(super) fn lost(&mut self, lost: Lost) {
        self.incomplete = true;
        for (name, _) in lost.inputs {
            if let Some(value) = self.values.get_mut(&name) {
                value.used = true;
            }
        }
        for (name, span) in lost.outputs {
            self.define(&name, span, None);
            if let Some(value) = self.values.get_mut(&name) {
                value.used = true;
            }
        }
    }

    fn infer(&mut self, parsed: &Parsed, inputs: &[Types]) -> Option<[Vec<ValueType>; 2]> {
        let inputs: Vec<[ValueType; 2]> = inputs.iter().copied().collect::<Option<_>>()?;
        let mut both = [Vec::new(), Vec::new()];
        for (at, phase) in PHASES.into_iter().enumerate() {
            let types: Vec<_> = inputs.iter().map(|t| t[at]).collect();
            if matches!((&parsed.statement.op, phase), (Operation::LastToken, PhaseKind::Decode { .. })) {
                both[at] = types;
                continue;
            }
            match parsed.statement.op.infer(phase, &types) {
                Ok(outputs) => both[at] = outputs,
                Err(error) => {
                    let span = error.input.and_then(|i| parsed.inputs.get(i)).unwrap_or(&parsed.span).clone();
                    let (found, expected) = (format!("found {}", error.found), format!("expected {}", error.expected));
                    self.reader.error(ErrorKind::Shape, span, &error.what, found, expected);
                    return None;
                }
            }
        }
        Some(both)
    }

    /// Checks operations that a model has only once, and those that belong to one section.
    fn special(&mut self, parsed: &Parsed) {
        let op = &parsed.statement.op;
        let (name, home) = match op {
            Operation::Tokens => ("Tokens", Section::Prologue),
            Operation::CacheUpdate { .. } => ("CacheUpdate", Section::Layer),
            Operation::LastToken => ("LastToken", Section::Epilogue),
            Operation::Argmax => ("Argmax", Section::Epilogue),
            Operation::Embedding { .. }
            | Operation::Carry
            | Operation::RmsNorm { .. }
            | Operation::Quantize { .. }
            | Operation::Dequantize { .. }
            | Operation::Scale { .. }
            | Operation::Linear(_)
            | Operation::Bias(_)
            | Operation::SplitHeads { .. }
            | Operation::Rope(_)
            | Operation::Attention { .. }
            | Operation::MergeHeads
            | Operation::Activation(_)
            | Operation::Mul { .. }
            | Operation::Add { .. } => return,
        };
        if parsed.statement.section != home {
            let place = ["the first block", "the repeated block", "the last block"]
                [Section::ALL.iter().position(|s| *s == home).unwrap_or(0)];
            self.reader.error(
                ErrorKind::Structure,
                parsed.span.clone(),
                "an operation out of place",
                format!("{name} here"),
                format!("{name} in {place}"),
            );
        }
        if self.statements.iter().any(|s| std::mem::discriminant(&s.op) == std::mem::discriminant(op)) {
            self.reader.error(
                ErrorKind::Duplicate,
                parsed.span.clone(),
                "a second operation of its kind",
                format!("{name} again"),
                "one in a model",
            );
        }
        if let Operation::CacheUpdate { context } = op {
            self.context = Some(*context);
        }
    }

    /// Notes a bias that is to be scaled by what is no ternary projection before it.
    fn scaled(&mut self, parsed: &Parsed) {
        let Operation::Bias(offsets) = &parsed.statement.op else { return };
        for factor in offsets.iter().flat_map(|offset| &offset.scale.factors) {
            let bound = self.weights.get(&factor.weight);
            if !bound.is_some_and(|uses| uses.iter().any(|(weight, _)| weight.encoding.is_ternary())) {
                let expected = "the tensor of a BitLinear before this";
                let found = format!("`{}`", factor.weight);
                self.reader.error(ErrorKind::Undefined, parsed.span.clone(), "a scale of no tensor", found, expected);
            }
        }
    }

    /// Notes weights bound twice, whole or in part. An embedding may share its table with the LM head.
    fn bind(&mut self, parsed: &Parsed) {
        let Some(span) = parsed.weight.clone() else { return };
        let role = parsed.statement.role;
        for weight in parsed.statement.op.weights() {
            let bound = self.weights.entry(weight.name.clone()).or_default();
            let rows = |w: &WeightRef| w.rows.unwrap_or((0, usize::MAX));
            let overlap = |other: &WeightRef| rows(other).0 < rows(weight).1 && rows(weight).0 < rows(other).1;
            let clash = bound.iter().find(|(other, _)| overlap(other) || other.shape.get(1) != weight.shape.get(1));
            if let Some((other, before)) = clash {
                let tied = (*before, role) == (Role::Embedding, Role::LmHead) && other.rows == weight.rows;
                let alike = tied && other.shape == weight.shape;
                self.harmless += usize::from(!alike);
                if tied && !alike {
                    let found = format!("`{}` of shape {:?}", weight.name, weight.shape);
                    let expected = format!("{:?}, as in the embedding, or a tensor of its own", other.shape);
                    self.reader.error(ErrorKind::Shape, span.clone(), "one tensor with two shapes", found, expected);
                } else if !tied {
                    let found = format!("`{}` is bound already", weight.name);
                    let expected = "a tensor of its own for every operation, or rows of one";
                    self.reader.error(ErrorKind::Duplicate, span.clone(), "duplicate weight", found, expected);
                }
            }
            bound.push((weight.clone(), role));
        }
    }

    /// Checks that are possible only at the end of the file: unused names and missing ends.
    pub(super) fn ends(&mut self, all: Range<usize>, quantization: Option<Raw<'_>>) {
        let results: HashSet<String> = self
            .statements
            .iter()
            .filter(|s| matches!(s.op, Operation::Argmax))
            .map(|s| s.outputs[0].clone())
            .collect();
        let unused: Vec<_> = self
            .values
            .iter()
            .filter(|(name, v)| !v.used && !self.incomplete_graph && !results.contains(*name) && !is_cache(v.types))
            .map(|(name, v)| (name.clone(), v.span.clone()))
            .collect();
        for (name, span) in unused {
            self.reader.error(
                ErrorKind::Unused,
                span,
                "unused value",
                format!("nobody reads `{name}`"),
                "use it or remove what computes it",
            );
        }
        let dims: Vec<_> = self
            .reader
            .dims
            .iter()
            .filter(|(_, d)| !d.used && !self.incomplete)
            .map(|(n, d)| (n.clone(), d.span.clone()))
            .collect();
        for (name, span) in dims {
            self.reader.error(
                ErrorKind::Unused,
                span,
                "unused dimension",
                format!("nothing uses `{name}`"),
                "use it or remove it",
            );
        }
        if self.reader.errors.len() > self.harmless {
            return;
        }
        let ternary = self.statements.iter().any(|s| matches!(&s.op, Operation::Linear(linear) if linear.is_ternary()));
        if let (Some(raw), false) = (quantization, ternary) {
            let expected = "a BitLinear, or no quantization";
            self.reader.error(ErrorKind::Unused, raw.span(), "unused quantization", "no ternary projection", expected);
        }
        for (missing, name) in [
            (results.is_empty(), "Argmax"),
            (self.context.is_none(), "CacheUpdate"),
            (self.carried.is_none(), "Repeat"),
            (!self.statements.iter().any(|s| matches!(s.op, Operation::LastToken)), "LastToken"),
        ] {
            if missing {
                let expected = format!("a model has one {name}");
                self.reader.error(
                    ErrorKind::Structure,
                    all.clone(),
                    "an incomplete model",
                    format!("no {name} in this model"),
                    expected,
                );
            }
        }
    }
}

/// The outputs of an operation that does not fit its inputs, as far as it determines them itself, so that the operations after it are still
/// checked.
fn guess(op: &Operation, inputs: &[Types]) -> Vec<Types> {
    let known = inputs.iter().copied().flatten().next();
    let rows = known.map_or(PHASES.map(|phase| phase.rows() as usize), |types| types.map(|t| t.rows));
    let of = |shape: Shape| Some([0, 1].map(|at| ValueType { rows: rows[at], shape }));
    let as_kind = |types: &Types, of: Heads| {
        let [decode, prefill] = (*types)?;
        let Shape::Heads { heads, head_dim, .. } = decode.shape else { return None };
        Some([decode, prefill].map(|t| ValueType { rows: t.rows, shape: Shape::Heads { of, heads, head_dim } }))
    };
    match op {
        Operation::Linear(linear) => vec![of(Shape::Features(linear.out_width()))],
        Operation::RmsNorm { gamma: Some(gamma), .. } => {
            vec![gamma.shape.first().and_then(|width| of(Shape::Features(*width)))]
        }
        Operation::Embedding { weight } => vec![weight.shape.get(1).and_then(|width| of(Shape::Features(*width)))],
        Operation::SplitHeads { heads, kv_heads, head_dim } => {
            [(Heads::Queries, heads), (Heads::Keys, kv_heads), (Heads::Values, kv_heads)]
                .map(|(kind, heads)| of(Shape::Heads { of: kind, heads: *heads, head_dim: *head_dim }))
                .to_vec()
        }
        Operation::Rope(_) => {
            inputs.iter().zip([Heads::Queries, Heads::Keys]).map(|(types, kind)| as_kind(types, kind)).collect()
        }
        Operation::CacheUpdate { context } => {
            let shape = inputs.iter().find_map(|types| as_kind(types, Heads::Keys)).map(|[t, _]| t.shape);
            let cache = |kind| match shape {
                Some(Shape::Heads { heads, head_dim, .. }) => {
                    of(Shape::Cache { of: kind, kv_heads: heads, context: *context, head_dim })
                }
                Some(Shape::Ids | Shape::Features(_) | Shape::Cache { .. }) | None => None,
            };
            vec![cache(Heads::Keys), cache(Heads::Values)]
        }
        Operation::Attention { .. } => inputs.iter().take(1).map(|types| as_kind(types, Heads::Attended)).collect(),
        Operation::Add { .. } | Operation::Mul { .. } | Operation::Activation(_) | Operation::Bias(_) => vec![known],
        Operation::RmsNorm { gamma: None, .. }
        | Operation::Tokens
        | Operation::Carry
        | Operation::Quantize { .. }
        | Operation::Dequantize { .. }
        | Operation::Scale { .. }
        | Operation::MergeHeads
        | Operation::LastToken
        | Operation::Argmax => Vec::new(),
    }
}

fn is_cache(types: Types) -> bool {
    types.is_some_and(|[t, _]| matches!(t.shape, Shape::Cache { .. }))
}

/// The name of a statement with several outputs; only three kinds of operations have them.
fn kind(op: &Operation) -> &'static str {
    match op {
        Operation::SplitHeads { .. } => "split_heads",
        Operation::Rope(_) => "rope",
        Operation::Tokens
        | Operation::Embedding { .. }
        | Operation::Carry
        | Operation::RmsNorm { .. }
        | Operation::Quantize { .. }
        | Operation::Dequantize { .. }
        | Operation::Scale { .. }
        | Operation::Linear(_)
        | Operation::Bias(_)
        | Operation::CacheUpdate { .. }
        | Operation::Attention { .. }
        | Operation::MergeHeads
        | Operation::Activation(_)
        | Operation::Mul { .. }
        | Operation::Add { .. }
        | Operation::LastToken
        | Operation::Argmax => "cache_update",
    }
}
