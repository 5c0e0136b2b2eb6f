//! Reading one operation of a block.

use super::error::ErrorKind;
use super::reader::{FACTORS, Fields, Reader, brief};
use super::rope::rope;
use super::syntax::{Raw, Tree};
use super::{Quantization, Statement};
use crate::graph::{
    Activation, ActivationQuant, Encoding, Linear, MulInput, Offset, Operation, Part, Role, Scalar, Section, WeightRef,
};
use std::ops::Range;

/// An operation as read, with the places of its names in the file.
pub(super) struct Parsed {
    pub statement: Statement,
    /// Spans of `from`'s names, in order.
    pub inputs: Vec<Range<usize>>,
    /// Spans of `to`'s names, in order.
    pub outputs: Vec<Range<usize>>,
    /// The operation's name.
    pub span: Range<usize>,
    /// Where the weight is named, if the operation binds one.
    pub weight: Option<Range<usize>>,
    /// Attention without a `scale` takes 1/sqrt(head_dim).
    pub default_scale: bool,
}

/// Operations a file can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tokens,
    Embedding,
    RmsNorm,
    BitLinear,
    Linear,
    Bias,
    SplitHeads,
    Rope,
    CacheUpdate,
    Attention,
    MergeHeads,
    Relu,
    Relu2,
    Silu,
    Mul,
    Add,
    LastToken,
    Argmax,
    Square,
}

/// Operations by their name in the file, with the numbers of their inputs and outputs.
const OPERATIONS: [(&str, Kind, usize, usize); 19] = [
    ("Tokens", Kind::Tokens, 0, 1),
    ("Embedding", Kind::Embedding, 1, 1),
    ("RmsNorm", Kind::RmsNorm, 1, 1),
    ("BitLinear", Kind::BitLinear, 1, 1),
    ("Linear", Kind::Linear, 1, 1),
    ("Bias", Kind::Bias, 1, 1),
    ("SplitHeads", Kind::SplitHeads, 3, 3),
    ("Rope", Kind::Rope, 2, 2),
    ("CacheUpdate", Kind::CacheUpdate, 2, 2),
    ("Attention", Kind::Attention, 3, 1),
    ("MergeHeads", Kind::MergeHeads, 1, 1),
    ("Relu", Kind::Relu, 1, 1),
    ("Relu2", Kind::Relu2, 1, 1),
    ("Silu", Kind::Silu, 1, 1),
    ("Mul", Kind::Mul, 2, 1),
    ("Add", Kind::Add, 2, 1),
    ("LastToken", Kind::LastToken, 1, 1),
    ("Argmax", Kind::Argmax, 1, 1),
    ("Square", Kind::Square, 1, 1),
];

/// The range of a norm's epsilon. Above it the norm would do nothing, and below it the number is lost in f32.
const EPSILONS: [f64; 2] = [1e-20, 1.0];

/// Roles a projection can have.
const PROJECTIONS: [(&str, Role); 6] = [
    ("Qkv", Role::Qkv),
    ("O", Role::O),
    ("Gate", Role::Gate),
    ("Up", Role::Up),
    ("Down", Role::Down),
    ("LmHead", Role::LmHead),
];

/// The names that an operation mentions, for one that cannot be read otherwise.
pub(super) struct Lost {
    pub inputs: Vec<(String, Range<usize>)>,
    pub outputs: Vec<(String, Range<usize>)>,
}

/// Reads one operation. When it cannot be read at least one mistake was noted.
pub(super) fn read<'a>(
    reader: &mut Reader<'a>,
    raw: Raw<'a>,
    section: Section,
    quantization: Quantization,
) -> Result<Parsed, Lost> {
    let before = reader.errors.len();
    let parsed = operation_of(reader, raw, section, quantization);
    parsed.ok_or_else(|| {
        debug_assert!(reader.errors.len() > before);
        Lost { inputs: mentioned(raw, "from"), outputs: mentioned(raw, "to") }
    })
}

/// The names in a field, as far as they can be read.
fn mentioned(raw: Raw<'_>, field: &str) -> Vec<(String, Range<usize>)> {
    let Ok(Tree::Fields(fields)) = raw.open() else { return Vec::new() };
    let Some(value) = fields.iter().find(|f| f.name == field).map(|f| f.value) else { return Vec::new() };
    let items = match value.open() {
        Ok(Tree::Items(items)) => items,
        Ok(Tree::Fields(_) | Tree::Text(_) | Tree::Number(_) | Tree::Word) | Err(_) => vec![value],
    };
    let name = |item: Raw<'_>| {
        let Ok(Tree::Text(text)) = item.open() else { return None };
        Some((text, item.span()))
    };
    items.into_iter().filter_map(name).collect()
}

fn operation_of<'a>(
    reader: &mut Reader<'a>,
    raw: Raw<'a>,
    section: Section,
    quantization: Quantization,
) -> Option<Parsed> {
    let Some(&(name, kind, arity_in, arity_out)) = OPERATIONS.iter().find(|(name, ..)| *name == raw.name()) else {
        let names: Vec<_> = OPERATIONS.iter().map(|(name, ..)| *name).collect();
        let found = format!("`{}`", brief(raw.text()));
        let found = if raw.name().is_empty() { found } else { format!("`{}`", raw.name()) };
        reader.error(
            ErrorKind::UnknownName,
            raw.name_span(),
            "unknown operation",
            found,
            format!("operations are {}", names.join(", ")),
        );
        return None;
    };
    let mut fields = reader.fields(raw, name)?;
    let from = if arity_in == 0 { Some(Vec::new()) } else { names(reader, &mut fields, "from", arity_in) };
    let to = names(reader, &mut fields, "to", arity_out);
    let body = operation(reader, &mut fields, kind, section, quantization);
    fields.finish(reader);
    let (from, to, Body { op, role, weight, default_scale }) = (from?, to?, body?);
    let (inputs, input_spans): (Vec<_>, Vec<_>) = from.into_iter().unzip();
    let (outputs, output_spans): (Vec<_>, Vec<_>) = to.into_iter().unzip();
    Some(Parsed {
        statement: Statement { name: String::new(), section, role, op, inputs, outputs },
        inputs: input_spans,
        outputs: output_spans,
        span: raw.name_span(),
        weight,
        default_scale,
    })
}

/// One name, or a list of them.
fn names<'a>(
    reader: &mut Reader<'a>,
    fields: &mut Fields<'a>,
    field: &'static str,
    count: usize,
) -> Option<Vec<(String, Range<usize>)>> {
    let raw = fields.required(reader, field)?;
    let expected =
        if count == 1 { "one value's name, \"x\"".to_string() } else { format!("a list of {count} value names") };
    let items = if count == 1 { vec![raw] } else { reader.list(raw, &expected)? };
    if items.len() != count {
        reader.error(
            ErrorKind::BadValue,
            raw.span(),
            "wrong number of values",
            format!("{} names", items.len()),
            expected,
        );
        return None;
    }
    items.into_iter().map(|item| Some((reader.text(item, &expected)?, item.span()))).collect()
}

/// Reads the fields that are particular to an operation.
struct Body {
    op: Operation,
    role: Role,
    weight: Option<Range<usize>>,
    default_scale: bool,
}

fn operation<'a>(
    reader: &mut Reader<'a>,
    fields: &mut Fields<'a>,
    kind: Kind,
    section: Section,
    quantization: Quantization,
) -> Option<Body> {
    let (weight_span, default_scale) = (&mut None, &mut false);
    let (op, role) = match kind {
        Kind::Tokens => (Operation::Tokens, Role::Data),
        Kind::Embedding => {
            let weight = weight(reader, fields, Encoding::Dense, section, 2, weight_span)?;
            (Operation::Embedding { weight }, Role::Embedding)
        }
        Kind::RmsNorm => {
            let eps =
                fields.required(reader, "eps").and_then(|raw| reader.number(raw, EPSILONS, "an epsilon such as 1e-5"));
            let gamma = weight(reader, fields, Encoding::Dense, section, 1, weight_span);
            (Operation::RmsNorm { gamma: Some(gamma?), scale: Scalar::ONE, eps: Scalar::number(eps?) }, Role::Norm)
        }
        Kind::BitLinear | Kind::Linear => {
            let role =
                fields.required(reader, "role").and_then(|raw| reader.word(raw, "a projection's role", &PROJECTIONS));
            if kind == Kind::BitLinear && quantization.weights == Encoding::Dense {
                let expected = "quantization: (weights: .., activations: ..) in the model";
                reader.error(
                    ErrorKind::MissingField,
                    fields.span.clone(),
                    "a ternary projection in a dense model",
                    "BitLinear",
                    expected,
                );
                return None;
            }
            let (encoding, activations) = if kind == Kind::BitLinear {
                (quantization.weights, quantization.activations)
            } else {
                (Encoding::Dense, ActivationQuant::None)
            };
            let weight = weight(reader, fields, encoding, section, 2, weight_span)?;
            let scale = if encoding.is_ternary() { Scalar::weight(&weight.name) } else { Scalar::ONE };
            (Operation::Linear(Linear { parts: vec![Part { weight, scale }], activations, unary: None }), role?)
        }
        Kind::Bias => {
            let scale = match fields.optional("scaled_by") {
                Some(raw) => Scalar::weight(reader.text(raw, "the name of a ternary projection's tensor")?),
                None => Scalar::ONE,
            };
            let weight = weight(reader, fields, Encoding::Dense, section, 1, weight_span)?;
            (Operation::Bias(vec![Offset { weight, scale }]), Role::Bias)
        }
        Kind::SplitHeads => split_heads(reader, fields)?,
        Kind::Rope => (Operation::Rope(rope(reader, fields)?), Role::Rope),
        Kind::CacheUpdate => {
            let context = fields.required(reader, "context").and_then(|raw| reader.dim(raw))?;
            (Operation::CacheUpdate { context }, Role::Cache)
        }
        Kind::Attention => {
            let scale = fields.optional("scale");
            *default_scale = scale.is_none();
            let scale = match scale {
                Some(raw) => {
                    Scalar::number(reader.number(raw, FACTORS, "a factor, or no field for 1/sqrt(head_dim)")?)
                }
                None => Scalar::ONE,
            };
            (Operation::Attention { scale }, Role::Sdpa)
        }
        Kind::MergeHeads => (Operation::MergeHeads, Role::Data),
        Kind::Relu => (Operation::Activation(Activation::Relu), Role::Product),
        Kind::Relu2 => (Operation::Activation(Activation::Relu2), Role::Product),
        Kind::Square => (Operation::Activation(Activation::Square), Role::Product),
        Kind::Silu => (Operation::Activation(Activation::Silu), Role::Product),
        Kind::Mul => (Operation::Mul { a: MulInput::PLAIN, b: MulInput::PLAIN }, Role::Product),
        Kind::Add => (Operation::Add { b_scale: Scalar::ONE }, Role::Residual),
        Kind::LastToken => (Operation::LastToken, Role::Data),
        Kind::Argmax => (Operation::Argmax, Role::Data),
    };
    Some(Body { op, role, weight: weight_span.take(), default_scale: *default_scale })
}

fn split_heads<'a>(reader: &mut Reader<'a>, fields: &mut Fields<'a>) -> Option<(Operation, Role)> {
    let heads = fields.required(reader, "heads").and_then(|raw| reader.dim(raw));
    let kv_raw = fields.required(reader, "kv_heads");
    let kv_heads = kv_raw.and_then(|raw| reader.dim(raw));
    let head_dim = fields.required(reader, "head_dim").and_then(|raw| reader.dim(raw));
    let (heads, kv_raw, kv_heads, head_dim) = (heads?, kv_raw?, kv_heads?, head_dim?);
    if !heads.is_multiple_of(kv_heads) {
        let found = format!("{heads} query heads over {kv_heads} KV heads");
        reader.error(
            ErrorKind::Division,
            kv_raw.span(),
            "heads do not divide",
            found,
            format!("kv_heads divides {heads}"),
        );
        return None;
    }
    Some((Operation::SplitHeads { heads, kv_heads, head_dim }, Role::Data))
}

/// `weight: "name"` or `weight: Slice("name", start, end)`, with `shape: [..]` of `rank` dimensions.
fn weight<'a>(
    reader: &mut Reader<'a>,
    fields: &mut Fields<'a>,
    encoding: Encoding,
    section: Section,
    rank: usize,
    span: &mut Option<Range<usize>>,
) -> Option<WeightRef> {
    let raw = fields.required(reader, "weight");
    let shape_raw = fields.required(reader, "shape");
    let shape = shape_raw.and_then(|raw| {
        let items = reader.list(raw, "the weight's shape, [\"ffn\", \"hidden\"]")?;
        let shape: Option<Vec<_>> = items.iter().map(|item| reader.dim(*item)).collect();
        if items.len() != rank {
            let expected = if rank == 1 { "[width]" } else { "[rows, columns]" };
            reader.error(
                ErrorKind::Shape,
                raw.span(),
                "wrong number of dimensions",
                format!("{} dimensions", items.len()),
                expected,
            );
            return None;
        }
        shape
    });
    let raw = raw?;
    *span = Some(raw.span());
    let (name, rows) = match reader.open(raw)? {
        Tree::Items(items) if raw.name() == "Slice" && items.len() == 3 => {
            let name = reader.text(items[0], "the tensor's name");
            let start = if items[1].text() == "0" { Some(0) } else { reader.dim(items[1]) };
            let end = reader.dim(items[2]);
            (name?, Some((start?, end?)))
        }
        Tree::Items(_) | Tree::Fields(_) | Tree::Text(_) | Tree::Number(_) | Tree::Word => {
            (reader.text(raw, "the tensor's name, or Slice(\"name\", first row, row after the last)")?, None)
        }
    };
    let shape = shape?;
    if name.contains("{layer}") != (section == Section::Layer) {
        let (found, expected) = match section {
            Section::Layer => ("one tensor for all layers", "a name with {layer} in it"),
            Section::Prologue | Section::Epilogue => ("{layer} outside the repeated block", "a name without {layer}"),
        };
        reader.error(ErrorKind::BadValue, raw.span(), "a tensor name of the wrong section", found, expected);
        return None;
    }
    if let Some((start, end)) = rows
        && (end <= start || end - start != shape[0] || encoding.is_ternary())
    {
        let found = format!("rows {start}..{end} for a weight of {} rows", shape[0]);
        reader.error(
            ErrorKind::Shape,
            raw.span(),
            "slice and shape differ",
            found,
            "a dense tensor, as many rows as the shape says",
        );
        return None;
    }
    if matches!(encoding, Encoding::Packed(_)) && shape[0] % 4 != 0 {
        let found = format!("{} output rows", shape[0]);
        let expected = "packed ternary tensors hold four rows per stored row: a multiple of 4";
        reader.error(ErrorKind::Division, shape_raw?.span(), "rows do not divide", found, expected);
        return None;
    }
    Some(WeightRef { name, rows, shape, encoding })
}
