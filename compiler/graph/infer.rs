//! Type inference: the output types of each operation, and the inputs that it refuses.

use super::{Heads, Linear, Operation, PhaseKind, Shape, ValueType};

/// The reason for which an operation does not accept its inputs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: found {found}, expected {expected}")]
pub struct TypeError {
    /// The input at fault, counted from 0, when one is.
    pub input: Option<usize>,
    /// The mistake.
    pub what: String,
    /// The type that was found.
    pub found: String,
    /// The value or form that would be accepted.
    pub expected: String,
}

impl TypeError {
    pub(super) fn new(
        input: Option<usize>,
        what: impl Into<String>,
        found: impl ToString,
        expected: impl ToString,
    ) -> Self {
        TypeError { input, what: what.into(), found: found.to_string(), expected: expected.to_string() }
    }
}

type Result<T> = std::result::Result<T, TypeError>;

fn features(inputs: &[ValueType], at: usize) -> Result<(usize, usize)> {
    match inputs[at].shape {
        Shape::Features(width) => Ok((inputs[at].rows, width)),
        Shape::Ids | Shape::Heads { .. } | Shape::Cache { .. } => {
            Err(TypeError::new(Some(at), "a vector per row is needed", inputs[at], "[rows, width]"))
        }
    }
}

/// Expects heads of a kind and returns the rows, the heads and the numbers per head.
fn heads(inputs: &[ValueType], at: usize, kind: Heads) -> Result<(usize, usize, usize)> {
    match inputs[at].shape {
        Shape::Heads { of, heads, head_dim } if of == kind => Ok((inputs[at].rows, heads, head_dim)),
        Shape::Ids | Shape::Features(_) | Shape::Heads { .. } | Shape::Cache { .. } => {
            let expected = format!("[rows, heads x head_dim] {kind}");
            Err(TypeError::new(Some(at), format!("{kind} are needed"), inputs[at], expected))
        }
    }
}

/// Expects the cache of a kind of heads and returns the KV heads and the numbers per head.
fn cache(inputs: &[ValueType], at: usize, kind: Heads) -> Result<(usize, usize)> {
    match inputs[at].shape {
        Shape::Cache { of, kv_heads, head_dim, .. } if of == kind => Ok((kv_heads, head_dim)),
        Shape::Ids | Shape::Features(_) | Shape::Heads { .. } | Shape::Cache { .. } => {
            let output = if kind == Heads::Keys { "first" } else { "second" };
            let expected = format!("the {output} output of a cache update");
            Err(TypeError::new(Some(at), format!("attention reads a cache of {kind} here"), inputs[at], expected))
        }
    }
}

fn same(inputs: &[ValueType]) -> Result<()> {
    if inputs[0] == inputs[1] {
        return Ok(());
    }
    Err(TypeError::new(Some(1), "both inputs must have one shape", inputs[1], inputs[0]))
}

fn width_is(input: usize, what: &str, found: usize, expected: usize) -> Result<()> {
    if found == expected { Ok(()) } else { Err(TypeError::new(Some(input), what, found, expected)) }
}

fn weight_rank(shape: &[usize], rank: usize) -> Result<()> {
    if shape.len() == rank && shape.iter().all(|&d| d > 0) {
        return Ok(());
    }
    Err(TypeError::new(None, "weight shape", format!("{shape:?}"), format!("{rank} positive dimensions")))
}

impl Operation {
    /// The least and the largest number of inputs that this operation takes. Numbers between the two are not legal.
    pub fn arity(&self) -> (usize, usize) {
        match self {
            Operation::Tokens => (0, 0),
            Operation::SplitHeads { .. } => (1, 3),
            Operation::Attention { .. } => (3, 3),
            Operation::Mul { .. }
            | Operation::Add { .. }
            | Operation::CacheUpdate { .. }
            | Operation::Rope(_)
            | Operation::Dequantize { .. } => (2, 2),
            Operation::Embedding { .. }
            | Operation::Carry
            | Operation::RmsNorm { .. }
            | Operation::Quantize { .. }
            | Operation::Scale { .. }
            | Operation::Linear(_)
            | Operation::Bias(_)
            | Operation::MergeHeads
            | Operation::Activation(_)
            | Operation::LastToken
            | Operation::Argmax => (1, 1),
        }
    }

    /// The types of the outputs for inputs of these types.
    ///
    /// # Errors
    /// A [`TypeError`] naming the input that does not fit and what would.
    pub fn infer(&self, phase: PhaseKind, inputs: &[ValueType]) -> Result<Vec<ValueType>> {
        let (least, most) = self.arity();
        if inputs.len() != least && inputs.len() != most {
            let expected = if least == most { least.to_string() } else { format!("{least} or {most}") };
            return Err(TypeError::new(None, "number of inputs", inputs.len(), expected));
        }
        let one = |rows, shape| Ok(vec![ValueType { rows, shape }]);
        match self {
            Operation::Tokens => one(phase.rows() as usize, Shape::Ids),
            Operation::Embedding { weight } => {
                weight_rank(&weight.shape, 2)?;
                match inputs[0].shape {
                    Shape::Ids => one(inputs[0].rows, Shape::Features(weight.shape[1])),
                    Shape::Features(_) | Shape::Heads { .. } | Shape::Cache { .. } => {
                        Err(TypeError::new(Some(0), "an embedding reads token ids", inputs[0], "ids"))
                    }
                }
            }
            Operation::Carry => features(inputs, 0).map(|_| inputs.to_vec()),
            Operation::RmsNorm { gamma, .. } => {
                let width = match inputs[0].shape {
                    Shape::Heads { of: Heads::Queries | Heads::Keys, head_dim, .. } => head_dim,
                    Shape::Features(_) | Shape::Ids | Shape::Heads { .. } | Shape::Cache { .. } => {
                        features(inputs, 0)?.1
                    }
                };
                if let Some(gamma) = gamma {
                    weight_rank(&gamma.shape, 1)?;
                    width_is(0, "the norm's weight and its input differ in width", width, gamma.shape[0])?;
                }
                Ok(inputs.to_vec())
            }
            Operation::Quantize { .. } => {
                let (rows, _) = features(inputs, 0)?;
                Ok(vec![inputs[0], ValueType { rows, shape: Shape::Features(1) }])
            }
            Operation::Dequantize { .. } => {
                let (rows, _) = features(inputs, 0)?;
                let factor = ValueType { rows, shape: Shape::Features(1) };
                if inputs[1] != factor {
                    return Err(TypeError::new(Some(1), "one factor per row is needed", inputs[1], factor));
                }
                Ok(vec![inputs[0]])
            }
            Operation::Linear(linear) => infer_linear(linear, inputs),
            Operation::Bias(offsets) => {
                let (_, width) = features(inputs, 0)?;
                offsets.iter().try_for_each(|offset| weight_rank(&offset.weight.shape, 1))?;
                let found = offsets.iter().filter_map(|offset| offset.weight.shape.first()).sum();
                width_is(0, "a bias and what it is added to differ in width", width, found)?;
                Ok(inputs.to_vec())
            }
            Operation::SplitHeads { heads, kv_heads, head_dim } => infer_split(*heads, *kv_heads, *head_dim, inputs),
            Operation::Rope(rope) => {
                let (_, _, q_dim) = heads(inputs, 0, Heads::Queries)?;
                let (_, _, k_dim) = heads(inputs, 1, Heads::Keys)?;
                width_is(1, "queries and keys differ in head_dim", k_dim, q_dim)?;
                if rope.dim == 0 || rope.dim % 2 != 0 || rope.dim > q_dim {
                    let expected = format!("an even number from 2 to head_dim = {q_dim}");
                    return Err(TypeError::new(None, "rotated dimensions", rope.dim, expected));
                }
                Ok(inputs.to_vec())
            }
            Operation::CacheUpdate { context } => {
                let (rows, kv_heads, head_dim) = heads(inputs, 0, Heads::Keys)?;
                let (_, count, width) = heads(inputs, 1, Heads::Values)?;
                if (inputs[1].rows, count, width) != (rows, kv_heads, head_dim) {
                    let expected = format!("[{rows}, {kv_heads} x {head_dim}], as the keys");
                    return Err(TypeError::new(Some(1), "keys and values differ in shape", inputs[1], expected));
                }
                let cache = |of| ValueType {
                    rows: phase.users() as usize,
                    shape: Shape::Cache { of, kv_heads, context: *context, head_dim },
                };
                Ok(vec![cache(Heads::Keys), cache(Heads::Values)])
            }
            Operation::Attention { .. } => infer_attention(inputs),
            Operation::MergeHeads => {
                let (rows, heads, head_dim) = heads(inputs, 0, Heads::Attended)?;
                one(rows, Shape::Features(heads * head_dim))
            }
            Operation::Activation(_) | Operation::Scale { .. } => Ok(inputs.to_vec()),
            Operation::Mul { .. } | Operation::Add { .. } => {
                features(inputs, 0)?;
                same(inputs)?;
                Ok(vec![inputs[0]])
            }
            Operation::LastToken => one(1, inputs[0].shape),
            Operation::Argmax => features(inputs, 0).map(|(rows, _)| vec![ValueType { rows, shape: Shape::Ids }]),
        }
    }
}

fn infer_linear(linear: &Linear, inputs: &[ValueType]) -> Result<Vec<ValueType>> {
    let (rows, width) = features(inputs, 0)?;
    let ternary = linear.parts.first().map(|p| p.weight.encoding.is_ternary());
    if ternary.is_none() {
        return Err(TypeError::new(None, "weights of a projection", 0, "at least 1"));
    }
    for part in &linear.parts {
        weight_rank(&part.weight.shape, 2)?;
        width_is(0, "the projection's input and its weight's columns differ", width, part.weight.shape[1])?;
        if Some(part.weight.encoding.is_ternary()) != ternary {
            return Err(TypeError::new(None, "weights of one projection", "ternary and dense", "one kind"));
        }
    }
    Ok(vec![ValueType { rows, shape: Shape::Features(linear.out_width()) }])
}

fn infer_split(heads: usize, kv_heads: usize, head_dim: usize, inputs: &[ValueType]) -> Result<Vec<ValueType>> {
    if kv_heads == 0 || head_dim == 0 || heads == 0 || !heads.is_multiple_of(kv_heads) {
        let expected = "positive heads that the KV heads divide";
        return Err(TypeError::new(
            None,
            "heads, kv_heads, head_dim",
            format!("{heads}, {kv_heads}, {head_dim}"),
            expected,
        ));
    }
    let (rows, width) = features(inputs, 0)?;
    if inputs.len() == 1 {
        width_is(0, "q, k and v side by side do not split into the heads", width, (heads + 2 * kv_heads) * head_dim)?;
    } else {
        for (at, count) in [heads, kv_heads, kv_heads].into_iter().enumerate() {
            let (its_rows, its_width) = features(inputs, at)?;
            width_is(at, "rows of q, k and v differ", its_rows, rows)?;
            width_is(at, "the projection does not split into its heads", its_width, count * head_dim)?;
        }
    }
    let value = |of, heads| ValueType { rows, shape: Shape::Heads { of, heads, head_dim } };
    Ok(vec![value(Heads::Queries, heads), value(Heads::Keys, kv_heads), value(Heads::Values, kv_heads)])
}

fn infer_attention(inputs: &[ValueType]) -> Result<Vec<ValueType>> {
    let (rows, heads, head_dim) = heads(inputs, 0, Heads::Queries)?;
    for (at, kind) in [(1, Heads::Keys), (2, Heads::Values)] {
        let (kv_heads, cached) = cache(inputs, at, kind)?;
        width_is(at, "queries and cache differ in head_dim", cached, head_dim)?;
        if kv_heads == 0 || heads % kv_heads != 0 {
            return Err(TypeError::new(
                Some(at),
                "query heads per KV head",
                format!("{heads}/{kv_heads}"),
                "a whole number",
            ));
        }
    }
    Ok(vec![ValueType { rows, shape: Shape::Heads { of: Heads::Attended, heads, head_dim } }])
}
