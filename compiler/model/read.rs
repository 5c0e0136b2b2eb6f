//! Reading a whole file: dimensions, quantisation, blocks, and the values that connect the operations.

use super::building::Building;
use super::error::{ErrorKind, ModelError};
use super::ops;
use super::reader::{Dim, Fields, Reader};
use super::syntax::Raw;
use super::{Model, Quantization, Statement};
use crate::graph::{ActivationQuant, Encoding, Operation, Role, ScaleConvention, Section};
use crate::policy::{Override, Wrong};
use indexmap::IndexMap;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// The most layers that `bitnetc_plan::verify` lets a plan have.
const MAX_LAYERS: usize = 1 << 14;

pub(super) fn model(text: &str) -> Result<Model, Vec<ModelError>> {
    let mut building = Building {
        reader: Reader::new(text),
        values: IndexMap::new(),
        statements: Vec::new(),
        names: HashSet::new(),
        spots: HashMap::new(),
        weights: HashMap::new(),
        blocks: HashSet::new(),
        carried: None,
        layers: None,
        context: None,
        quantization: Quantization { weights: Encoding::Dense, activations: ActivationQuant::None },
        section: Section::Prologue,
        harmless: 0,
        incomplete: false,
        incomplete_graph: false,
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
        self.ends(all.clone(), quantization);
        let dims = self.reader.dims.iter().map(|(name, dim)| (name.clone(), dim.value)).collect();
        let (carried, end) = self.carried.take()?;
        let model = Model {
            name: name?,
            source: source?,
            dims,
            quantization: self.quantization,
            precision: precision?,
            layers: self.layers?,
            context: self.context?,
            statements: std::mem::take(&mut self.statements),
            carried,
        };
        if self.reader.errors.len() == self.harmless {
            self.decoder(&model, end, all);
        }
        Some(model)
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
            if !self.reader.name(&name, field.name_span.clone()) {
                continue;
            }
            if self.reader.dims.contains_key(&name) {
                self.reader.error(
                    ErrorKind::Duplicate,
                    field.name_span.clone(),
                    "duplicate dimension",
                    format!("`{name}` again"),
                    "each once",
                );
            } else {
                // A dimension with a wrong value is still defined, so that its uses are not reported as well.
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
            // Assume ternary weights, so that not every BitLinear is reported as well.
            self.quantization = Quantization { weights: Encoding::Absmean, activations: ActivationQuant::None };
        }
    }

    /// Reads the precision overrides, each by the rules of the command line's `--set`.
    fn precision(&mut self, raw: Raw<'a>) -> Option<Vec<Override>> {
        let fields = self.map(raw, "precision")?;
        let mut read = Vec::new();
        for field in fields.all() {
            let text = self.reader.text(field.value, Override::FORM)?;
            match Override::new(&field.name, &text) {
                Ok(given) => read.push(given),
                Err(Wrong::Role(what)) => {
                    let (span, expected) = (field.name_span.clone(), "a role, or one of a phase, as in \"decode:o\"");
                    self.reader.error(ErrorKind::UnknownName, span, "unknown role", what, expected);
                }
                Err(Wrong::Precision(what)) => {
                    self.reader.error(ErrorKind::BadValue, field.value.span(), "not a precision", what, Override::FORM);
                }
            }
        }
        Some(read)
    }

    fn graph(&mut self, raw: Raw<'a>) {
        let Some(blocks) = self.reader.list(raw, "[Once(..), Repeat(..), Once(..)]") else {
            (self.incomplete, self.incomplete_graph) = (true, true);
            return;
        };
        let kinds: Vec<_> = blocks.iter().map(Raw::name).collect();
        if kinds != ["Once", "Repeat", "Once"] {
            let found = format!("blocks {}", kinds.join(", "));
            let expected = "three blocks: Once(..) before the layers, Repeat(..), Once(..) after them";
            self.reader.error(ErrorKind::Structure, raw.name_span(), "blocks that make no model", found, expected);
            (self.incomplete, self.incomplete_graph) = (true, true);
            return;
        }
        for (block, section) in blocks.into_iter().zip(Section::ALL) {
            self.section = section;
            self.block(block);
        }
    }

    fn block(&mut self, raw: Raw<'a>) {
        let Some(mut fields) = self.reader.fields(raw, raw.name()) else {
            (self.incomplete, self.incomplete_graph) = (true, true);
            return;
        };
        if let Some(raw) = fields.required(&mut self.reader, "name")
            && let Some(name) = self.reader.text(raw, "the block's name")
            && !self.blocks.insert(name.clone())
        {
            self.harmless += 1;
            let found = format!("a second block `{name}`");
            self.reader.error(ErrorKind::Duplicate, raw.span(), "duplicate block", found, "a name of its own");
        }
        let to = if self.section == Section::Layer { self.repeat(&mut fields) } else { None };
        let ops = fields.required(&mut self.reader, "ops");
        fields.finish(&mut self.reader);
        for op in ops.and_then(|raw| self.reader.list(raw, "a list of operations")).unwrap_or_default() {
            match ops::read(&mut self.reader, op, self.section, self.quantization) {
                Ok(parsed) => self.statement(parsed),
                Err(lost) => self.lost(lost),
            }
        }
        if let Some((name, span)) = to {
            self.close(name, span);
        }
    }

    /// Reads the header of the repeated block and returns its `to`.
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
        if let (Some(layers), Some(raw)) = (self.layers.filter(|layers| *layers > MAX_LAYERS), times) {
            let expected = format!("1 to {MAX_LAYERS} layers, what a plan may have");
            self.reader.error(ErrorKind::BadValue, raw.span(), "too many layers", layers.to_string(), expected);
        }
        if let (Some((from, from_span)), Some((carry, carry_span))) = (from, carry) {
            self.section = Section::Prologue;
            let types = self.used(&from, from_span.clone());
            self.section = Section::Layer;
            self.define(&carry, carry_span, types);
            let statement = Statement {
                name: carry.clone(),
                section: Section::Layer,
                role: Role::Data,
                op: Operation::Carry,
                inputs: vec![from],
                outputs: vec![carry],
            };
            self.names.insert(statement.name.clone());
            self.statements.push(statement);
        }
        to
    }

    /// Ends the repeated block: `to` is carried into the next layer and out of the block.
    fn close(&mut self, name: String, span: Range<usize>) {
        let types = self.used(&name, span.clone());
        let start = self
            .statements
            .iter()
            .find(|s| matches!(s.op, Operation::Carry))
            .and_then(|s| self.values.get(&s.outputs[0]));
        if let (Some(end), Some(start)) = (types, start.and_then(|s| s.types))
            && end != start
        {
            let found = format!("{} at the end of a layer", end[0]);
            let expected = format!("the type it starts with, {}", start[0]);
            self.reader.error(ErrorKind::Shape, span.clone(), "the residual stream changes its shape", found, expected);
        }
        if let Some(value) = self.values.get_mut(&name) {
            value.section = Section::Epilogue;
            // The value must be used again after the layers.
            value.used = false;
            value.span = span.clone();
        }
        self.carried = Some((name, span));
    }
}
