//! Reading a whole file: dimensions, quantisation, blocks, and the values that connect the operations.

use super::error::{ErrorKind, ModelError};
use super::ops::{self, Parsed};
use super::reader::{Dim, Fields, Reader};
use super::syntax::Raw;
use super::{Model, Quantization, Statement};
use crate::graph::{ActivationQuant, Encoding, Op, Phase, Role, ScaleConvention, Section, Shape, ValueType};
use indexmap::IndexMap;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// Types of a value in decode and prefill; none after a mistake, so that one mistake is not told twice.
type Types = Option<[ValueType; 2]>;

/// Sizes to check shapes with: all different from each other and from 1, so that a mix-up shows.
const PHASES: [Phase; 2] = [Phase::Decode { batch: 2 }, Phase::Prefill { seq: 3 }];

const ROLES: [(&str, Role); 13] = [
    ("embedding", Role::Embedding),
    ("norm", Role::Norm),
    ("qkv", Role::Qkv),
    ("rope", Role::Rope),
    ("cache", Role::Cache),
    ("sdpa", Role::Sdpa),
    ("o", Role::O),
    ("gate", Role::Gate),
    ("up", Role::Up),
    ("down", Role::Down),
    ("product", Role::Product),
    ("residual", Role::Residual),
    ("lm_head", Role::LmHead),
];

struct Defined {
    types: Types,
    span: Range<usize>,
    section: Section,
    used: bool,
}

/// The values of the file and what has been built of it.
struct Building<'a> {
    reader: Reader<'a>,
    values: IndexMap<String, Defined>,
    statements: Vec<Statement>,
    names: HashSet<String>,
    weights: HashMap<(String, Option<(usize, usize)>), Role>,
    /// `(name inside, name outside)` of the residual stream at a layer's end.
    carried: Option<(String, Range<usize>)>,
    layers: Option<usize>,
    context: Option<usize>,
    quantization: Quantization,
    /// Where values read now must have been defined.
    section: Section,
}

pub(super) fn model(text: &str) -> Result<Model, Vec<ModelError>> {
    let mut building = Building {
        reader: Reader::new(text),
        values: IndexMap::new(),
        statements: Vec::new(),
        names: HashSet::new(),
        weights: HashMap::new(),
        carried: None,
        layers: None,
        context: None,
        quantization: Quantization { weights: Encoding::Dense, activations: ActivationQuant::None },
        section: Section::Prologue,
    };
    let model = building.file();
    match model {
        Some(model) if building.reader.errors.is_empty() => Ok(model),
        _ => Err(building.reader.errors),
    }
}

impl<'a> Building<'a> {
    fn file(&mut self) -> Option<Model> {
        let whole = self.reader.whole()?;
        if whole.name() != "Model" {
            let found = format!("`{}`", super::reader::brief(whole.name()));
            self.reader.error(
                ErrorKind::UnknownName,
                whole.name_span(),
                "not a model",
                found,
                "Model(name: .., dims: .., graph: ..)",
            );
            return None;
        }
        let mut fields = self.reader.fields(whole, "Model")?;
        let name = fields.required(&mut self.reader, "name").and_then(|raw| self.reader.text(raw, "the model's name"));
        let source = fields
            .required(&mut self.reader, "source")
            .and_then(|raw| self.reader.text(raw, "where the numbers come from"));
        if let Some(raw) = fields.required(&mut self.reader, "dims") {
            self.dims(raw);
        }
        let quantization = fields.optional("quantization");
        if let Some(raw) = quantization {
            self.quantization(raw);
        }
        let precision = fields.optional("precision").map_or(Some(Vec::new()), |raw| self.precision(raw));
        let graph = fields.required(&mut self.reader, "graph");
        let all = fields.span.clone();
        fields.finish(&mut self.reader);
        self.graph(graph?);
        self.ends(all, quantization);
        let dims = self.reader.dims.iter().map(|(name, dim)| (name.clone(), dim.value)).collect();
        Some(Model {
            name: name?,
            source: source?,
            dims,
            quantization: self.quantization,
            precision: precision?,
            layers: self.layers?,
            context: self.context?,
            statements: std::mem::take(&mut self.statements),
            carried: self.carried.take()?.0,
            digest: Sha256::digest(self.reader.file.as_bytes()).iter().map(|b| format!("{b:02x}")).collect(),
        })
    }

    fn map(&mut self, raw: Raw<'a>, what: &str) -> Option<Fields<'a>> {
        if raw.text().starts_with('{') {
            return self.reader.fields(raw, what);
        }
        self.reader.error(
            ErrorKind::BadValue,
            raw.span(),
            "a map is needed",
            "this is none",
            format!("{what} {{ \"name\": value, .. }}"),
        );
        None
    }

    fn dims(&mut self, raw: Raw<'a>) {
        let Some(fields) = self.map(raw, "dims") else { return };
        for field in fields.all() {
            let name = field.name.clone();
            let value = self.reader.dim(field.value);
            let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                && !name.starts_with(|c: char| c.is_ascii_digit());
            if name.is_empty() || !plain {
                let expected = "letters, digits and _, no digit first";
                self.reader.error(
                    ErrorKind::BadValue,
                    field.name_span.clone(),
                    "not a name",
                    format!("`{name}`"),
                    expected,
                );
            } else if self.reader.dims.contains_key(&name) {
                self.reader.error(
                    ErrorKind::Duplicate,
                    field.name_span.clone(),
                    "duplicate dimension",
                    format!("`{name}` again"),
                    "each once",
                );
            } else {
                // A dimension whose value is wrong stays known, so that its uses are not reported as well.
                let used = value.is_none();
                self.reader.dims.insert(name, Dim { value: value.unwrap_or(1), span: field.name_span.clone(), used });
            }
        }
    }

    fn quantization(&mut self, raw: Raw<'a>) {
        let Some(mut fields) = self.reader.fields(raw, "quantization") else { return };
        const WEIGHTS: [(&str, Encoding); 3] = [
            ("Packed(Multiplies)", Encoding::Packed(ScaleConvention::Multiplies)),
            ("Packed(Divides)", Encoding::Packed(ScaleConvention::Divides)),
            ("Absmean", Encoding::Absmean),
        ];
        const ACTIVATIONS: [(&str, ActivationQuant); 2] =
            [("Int8PerToken", ActivationQuant::Int8PerToken), ("None", ActivationQuant::None)];
        let reader = &mut self.reader;
        let weights =
            fields.required(reader, "weights").and_then(|raw| reader.word(raw, "storage of ternary weights", &WEIGHTS));
        let activations =
            fields.required(reader, "activations").and_then(|raw| reader.word(raw, "activations", &ACTIVATIONS));
        fields.finish(reader);
        if let Some((weights, activations)) = weights.zip(activations) {
            self.quantization = Quantization { weights, activations };
        } else {
            // Ternary all the same, so that every BitLinear is not reported as well.
            self.quantization = Quantization { weights: Encoding::Absmean, activations: ActivationQuant::None };
        }
    }

    fn precision(&mut self, raw: Raw<'a>) -> Option<Vec<(Role, String)>> {
        let fields = self.map(raw, "precision")?;
        let mut read = Vec::new();
        for field in fields.all() {
            let text = self.reader.text(field.value, "\"dtype/fidelity\", such as \"bfp8/hifi2\"")?;
            let Some((_, role)) = ROLES.iter().find(|(name, _)| *name == field.name) else {
                let names: Vec<_> = ROLES.iter().map(|(name, _)| *name).collect();
                let expected = format!("roles are {}", names.join(", "));
                self.reader.error(
                    ErrorKind::UnknownName,
                    field.name_span.clone(),
                    "unknown role",
                    format!("`{}`", field.name),
                    expected,
                );
                continue;
            };
            let known = |part: &str, words: &[&str]| words.contains(&part);
            let fits = text.split_once('/').is_some_and(|(dtype, fidelity)| {
                known(dtype, &["bf16", "bfp8", "bfp4", "f32"]) && known(fidelity, &["lofi", "hifi2", "hifi3", "hifi4"])
            });
            if !fits {
                let expected = "bf16, bfp8, bfp4 or f32, then / and lofi, hifi2, hifi3 or hifi4";
                self.reader.error(
                    ErrorKind::BadValue,
                    field.value.span(),
                    "not a precision",
                    format!("`{text}`"),
                    expected,
                );
            }
            read.push((*role, text));
        }
        Some(read)
    }

    fn graph(&mut self, raw: Raw<'a>) {
        let Some(blocks) = self.reader.list(raw, "[Once(..), Repeat(..), Once(..)]") else { return };
        let kinds: Vec<_> = blocks.iter().map(Raw::name).collect();
        if kinds != ["Once", "Repeat", "Once"] {
            let found = format!("blocks {}", kinds.join(", "));
            let expected = "three blocks: Once(..) before the layers, Repeat(..), Once(..) after them";
            self.reader.error(ErrorKind::Structure, raw.name_span(), "blocks that make no model", found, expected);
            return;
        }
        for (block, section) in blocks.into_iter().zip(Section::ALL) {
            self.section = section;
            self.block(block);
        }
    }

    fn block(&mut self, raw: Raw<'a>) {
        let Some(mut fields) = self.reader.fields(raw, raw.name()) else { return };
        if let Some(name) = fields.required(&mut self.reader, "name") {
            self.reader.text(name, "the block's name");
        }
        let to = if self.section == Section::Layer { self.repeat(&mut fields) } else { None };
        let ops = fields.required(&mut self.reader, "ops");
        fields.finish(&mut self.reader);
        for op in ops.and_then(|raw| self.reader.list(raw, "a list of operations")).unwrap_or_default() {
            if let Some(parsed) = ops::read(&mut self.reader, op, self.section, self.quantization) {
                self.statement(parsed);
            }
        }
        if let Some((name, span)) = to {
            self.close(name, span);
        }
    }

    /// The header of the repeated block; answers its `to`.
    fn repeat(&mut self, fields: &mut Fields<'a>) -> Option<(String, Range<usize>)> {
        let mut name = |reader: &mut Reader<'a>, field| {
            let raw = fields.required(reader, field)?;
            Some((reader.text(raw, "a value's name")?, raw.span()))
        };
        let from = name(&mut self.reader, "from");
        let carry = name(&mut self.reader, "carry");
        let to = name(&mut self.reader, "to");
        let times = fields.required(&mut self.reader, "times");
        self.layers = times.and_then(|raw| self.reader.dim(raw));
        if let (Some((from, from_span)), Some((carry, carry_span))) = (from, carry) {
            self.section = Section::Prologue;
            let types = self.used(&from, from_span.clone());
            self.section = Section::Layer;
            self.define(&carry, carry_span, types);
            let statement = Statement {
                name: carry.clone(),
                section: Section::Layer,
                role: Role::Data,
                op: Op::Carry,
                inputs: vec![from],
                outputs: vec![carry],
            };
            self.names.insert(statement.name.clone());
            self.statements.push(statement);
        }
        to
    }

    /// The end of the repeated block: `to` goes around and out.
    fn close(&mut self, name: String, span: Range<usize>) {
        let types = self.used(&name, span.clone());
        let start =
            self.statements.iter().find(|s| matches!(s.op, Op::Carry)).and_then(|s| self.values.get(&s.outputs[0]));
        if let (Some(end), Some(start)) = (types, start.and_then(|s| s.types))
            && end != start
        {
            let found = format!("{} at the end of a layer", end[0]);
            let expected = format!("the type it starts with, {}", start[0]);
            self.reader.error(ErrorKind::Shape, span.clone(), "the residual stream changes its shape", found, expected);
        }
        if let Some(value) = self.values.get_mut(&name) {
            value.section = Section::Epilogue;
            // It must be read again after the layers.
            value.used = false;
            value.span = span.clone();
        }
        self.carried = Some((name, span));
    }

    /// Marks a value as used and answers its types.
    fn used(&mut self, name: &str, span: Range<usize>) -> Types {
        let section = self.section;
        let visible: Vec<String> =
            self.values.iter().filter(|(_, v)| v.section == section).map(|(n, _)| n.clone()).collect();
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
                let last: Vec<_> = visible.iter().rev().take(8).rev().map(String::as_str).collect();
                let expected = if last.is_empty() {
                    "no value is defined yet".into()
                } else {
                    format!("values here: {}", last.join(", "))
                };
                self.reader.error(ErrorKind::Undefined, span, "undefined value", found, expected);
                None
            }
        }
    }

    fn define(&mut self, name: &str, span: Range<usize>, types: Types) {
        if let Some(first) = self.values.get(name) {
            let (line, _) = super::error::position(self.reader.file, first.span.start);
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
        self.values.insert(name.to_string(), Defined { types, span, section: self.section, used: false });
    }

    fn statement(&mut self, mut parsed: Parsed) {
        let inputs: Vec<_> =
            parsed.statement.inputs.clone().iter().zip(&parsed.inputs).map(|(n, s)| self.used(n, s.clone())).collect();
        if let Op::Attention { scale } = &mut parsed.statement.op
            && parsed.default_scale
            && let Some(Some([ValueType { shape: Shape::Heads { head_dim, .. }, .. }, _])) = inputs.first()
        {
            *scale = crate::graph::Scalar::number(1.0 / (*head_dim as f64).sqrt());
        }
        let outputs = self.infer(&parsed, &inputs);
        for (at, (name, span)) in parsed.statement.outputs.clone().iter().zip(&parsed.outputs).enumerate() {
            let types = outputs.as_ref().map(|[decode, prefill]| [decode[at], prefill[at]]);
            self.define(name, span.clone(), types);
        }
        self.special(&parsed);
        self.bind(&parsed);
        let mut name = match parsed.statement.outputs.as_slice() {
            [one] => one.clone(),
            _ => kind(&parsed.statement.op).to_string(),
        };
        while !self.names.insert(name.clone()) {
            name.push('_');
        }
        parsed.statement.name = name;
        self.statements.push(parsed.statement);
    }

    fn infer(&mut self, parsed: &Parsed, inputs: &[Types]) -> Option<[Vec<ValueType>; 2]> {
        let inputs: Vec<[ValueType; 2]> = inputs.iter().copied().collect::<Option<_>>()?;
        let mut both = [Vec::new(), Vec::new()];
        for (at, phase) in PHASES.into_iter().enumerate() {
            let types: Vec<_> = inputs.iter().map(|t| t[at]).collect();
            if matches!((&parsed.statement.op, phase), (Op::LastToken, Phase::Decode { .. })) {
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

    /// Operations of which a model has one, and those bound to a section.
    fn special(&mut self, parsed: &Parsed) {
        let op = &parsed.statement.op;
        let (name, home) = match op {
            Op::Tokens => ("Tokens", Section::Prologue),
            Op::CacheUpdate { .. } => ("CacheUpdate", Section::Layer),
            Op::LastToken => ("LastToken", Section::Epilogue),
            Op::Argmax => ("Argmax", Section::Epilogue),
            _ => return,
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
        if let Op::CacheUpdate { context } = op {
            self.context = Some(*context);
        }
    }

    /// Notes weights bound twice. An embedding may share its table with the LM head.
    fn bind(&mut self, parsed: &Parsed) {
        let Some(span) = parsed.weight.clone() else { return };
        let role = parsed.statement.role;
        for weight in parsed.statement.op.weights() {
            let before = self.weights.insert((weight.name.clone(), weight.rows), role);
            let tied = matches!((before, role), (Some(Role::Embedding), Role::LmHead) | (None, _));
            if !tied {
                let found = format!("`{}` is bound already", weight.name);
                self.reader.error(
                    ErrorKind::Duplicate,
                    span.clone(),
                    "duplicate weight",
                    found,
                    "a tensor of its own for every operation",
                );
            }
        }
    }

    /// What can be judged only at the end: unused names, missing ends.
    fn ends(&mut self, all: Range<usize>, quantization: Option<Raw<'a>>) {
        let result = self.statements.iter().rfind(|s| matches!(s.op, Op::Argmax)).map(|s| s.outputs[0].clone());
        let unused: Vec<_> = self
            .values
            .iter()
            .filter(|(name, v)| !v.used && Some(*name) != result.as_ref() && !is_cache(v.types))
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
        let dims: Vec<_> =
            self.reader.dims.iter().filter(|(_, d)| !d.used).map(|(n, d)| (n.clone(), d.span.clone())).collect();
        for (name, span) in dims {
            self.reader.error(
                ErrorKind::Unused,
                span,
                "unused dimension",
                format!("nothing uses `{name}`"),
                "use it or remove it",
            );
        }
        if !self.reader.errors.is_empty() {
            return;
        }
        let ternary = self.statements.iter().any(|s| matches!(&s.op, Op::Linear(linear) if linear.is_ternary()));
        if let (Some(raw), false) = (quantization, ternary) {
            let expected = "a BitLinear, or no quantization";
            self.reader.error(ErrorKind::Unused, raw.span(), "unused quantization", "no ternary projection", expected);
        }
        for (missing, name) in
            [(result.is_none(), "Argmax"), (self.context.is_none(), "CacheUpdate"), (self.carried.is_none(), "Repeat")]
        {
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

fn is_cache(types: Types) -> bool {
    types.is_some_and(|[t, _]| matches!(t.shape, Shape::Cache { .. }))
}

fn kind(op: &Op) -> &'static str {
    match op {
        Op::SplitHeads { .. } => "split_heads",
        Op::Rope(_) => "rope",
        _ => "cache_update",
    }
}
