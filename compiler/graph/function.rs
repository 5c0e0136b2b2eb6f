//! The function of a graph, as terms: see [`bitnetc_plan::function`].
//!
//! Each operation means what [`super::Operation`] says, in Hugging Face's order of heads and with every scale where it is written. A plan
//! computes the same where its terms are the same.

use std::collections::HashMap;

use bitnetc_plan::function::algebra::{add, mul, norm, row_max, unary};
use bitnetc_plan::function::heads::{Coordinates, attend, each, rates, turn};
use bitnetc_plan::function::matrices::{constant, lookup, product};
use bitnetc_plan::function::node::Node;
use bitnetc_plan::function::{Columns, Function, Record, Scale, Terms, Unclear};
use bitnetc_plan::{Section, Unary};

use super::{
    Activation, ActivationQuant, Graph, Linear, MulInput, NodeId, Operation, Rope, Scalar, Shape, Value, WeightRef,
};
use crate::passes::select::weights::{matrix, scalar};

/// The least divisor of a quantisation that a projection has of its own.
const FLOOR: f64 = 1e-5;

/// The function of a sound graph.
///
/// # Errors
/// An operation that no decoder has in its place.
pub fn function(graph: &Graph) -> Result<Function, Unclear> {
    let mut meaning = Meaning { graph, terms: Terms::default(), values: HashMap::new(), start: None, logits: None };
    let mut record = Record::default();
    let (mut end, carried) = (None, graph.carried());
    for section in Section::ALL {
        if section == Section::Epilogue {
            // What follows the layers reads the stream that the last of them left.
            end = carried.and_then(|value| meaning.values.get(&value)).cloned();
            let last = end.as_ref().map(|end| Columns::of(meaning.terms.make(Node::Carry), end.len()));
            meaning.values.extend(carried.zip(last));
        }
        for node in graph.order(section) {
            for (output, columns) in meaning.outputs(node)?.into_iter().enumerate() {
                record.note(&graph.node(node).name, &columns);
                meaning.values.insert(Value { node, output }, columns);
            }
        }
    }
    let lacks = |what: &str| Unclear::new(format!("the model has no {what}"), "a decoder");
    let [start, end, logits] =
        [(meaning.start, "residual stream"), (end, "end of a layer"), (meaning.logits, "logits")]
            .map(|(columns, what)| columns.ok_or_else(|| lacks(what)));
    let terms = &mut meaning.terms;
    let [start, end, logits] = [start?, end?, logits?].map(|columns| columns.as_they_are(terms));
    Ok(Function { start, end, logits, made: record.finish(), terms: meaning.terms })
}

struct Meaning<'g> {
    graph: &'g Graph,
    terms: Terms,
    values: HashMap<Value, Columns>,
    start: Option<Columns>,
    logits: Option<Columns>,
}

impl Meaning<'_> {
    fn input(&self, node: NodeId, at: usize) -> Result<Columns, Unclear> {
        let value = self.graph.inputs(node).get(at).copied();
        let found = value.and_then(|value| self.values.get(&value)).cloned();
        found.ok_or_else(|| Unclear::new(format!("input {at} of `{}` is no value", self.graph.node(node).name), ""))
    }

    /// The heads of an input, and how many they are.
    fn heads(&self, node: NodeId, at: usize) -> Result<(Columns, u32), Unclear> {
        let columns = self.input(node, at)?;
        let shape = self.graph.inputs(node).get(at).map(|value| self.graph.value_type(*value).shape);
        match shape {
            Some(Shape::Heads { heads, .. } | Shape::Cache { kv_heads: heads, .. }) => Ok((columns, heads as u32)),
            Some(Shape::Ids | Shape::Features(_)) | None => Err(Unclear::new("no heads", "heads")),
        }
    }

    fn outputs(&mut self, node: NodeId) -> Result<Vec<Columns>, Unclear> {
        let graph = self.graph;
        Ok(match &graph.node(node).op {
            Operation::Tokens => vec![],
            Operation::Embedding { weight } => vec![lookup(&mut self.terms, &matrix(weight))?],
            Operation::Carry => {
                let start = self.input(node, 0)?;
                let carry = Columns::of(self.terms.make(Node::Carry), start.len());
                self.start = Some(start);
                vec![carry]
            }
            Operation::RmsNorm { gamma, scale, eps } => {
                let parts = match graph.inputs(node).first().map(|value| graph.value_type(*value).shape) {
                    Some(Shape::Heads { heads, .. }) => each(&self.input(node, 0)?, heads as u32)?,
                    Some(Shape::Ids | Shape::Features(_) | Shape::Cache { .. }) | None => vec![self.input(node, 0)?],
                };
                let mut normed = Columns::default();
                for part in parts {
                    normed.append(&self.norm(&part, gamma.as_ref(), eps)?);
                }
                vec![normed.scaled(&of(scale))]
            }
            Operation::Quantize { floor } => {
                let x = self.input(node, 0)?;
                let (integers, maxima) = self.quantized(&x, &scalar(floor))?;
                vec![integers, maxima]
            }
            Operation::Dequantize { scale, power } => {
                let (y, maxima) = (self.input(node, 0)?, self.input(node, 1)?);
                vec![self.dequantized(&y.scaled(&of(scale)), &maxima, *power)?]
            }
            Operation::Scale { scale } => vec![self.input(node, 0)?.scaled(&of(scale))],
            Operation::Linear(linear) => {
                let x = self.input(node, 0)?;
                vec![self.linear(&x, linear)?]
            }
            Operation::Bias(offsets) => {
                let mut bias = Columns::default();
                for offset in offsets {
                    let len = offset.weight.shape.first().copied().unwrap_or(0) as u32;
                    bias.append(&constant(&mut self.terms, &offset.weight.name, len).scaled(&of(&offset.scale)));
                }
                let x = self.input(node, 0)?;
                vec![add(&mut self.terms, &x, &bias)?]
            }
            Operation::SplitHeads { heads, kv_heads, head_dim } => {
                self.split(node, [*heads, *kv_heads, *kv_heads].map(|heads| (heads * head_dim) as u32))?
            }
            Operation::Rope(rope) => vec![self.rope(node, 0, rope)?, self.rope(node, 1, rope)?],
            Operation::CacheUpdate { .. } => vec![self.input(node, 0)?, self.input(node, 1)?],
            Operation::Attention { scale } => {
                let ((q, heads), (k, kv_heads)) = (self.heads(node, 0)?, self.heads(node, 1)?);
                let v = self.input(node, 2)?;
                vec![attend(&mut self.terms, [&q, &k, &v], (heads, kv_heads), &of(scale))?]
            }
            Operation::MergeHeads | Operation::LastToken => vec![self.input(node, 0)?],
            Operation::Activation(activation) => {
                let x = self.input(node, 0)?;
                vec![self.activated(&x, *activation)?]
            }
            Operation::Mul { a, b } => {
                let (x, y) = (self.input(node, 0)?, self.input(node, 1)?);
                let (x, y) = (self.factor(&x, a)?, self.factor(&y, b)?);
                vec![mul(&mut self.terms, &x, &y)?]
            }
            Operation::Add { b_scale } => {
                let (a, b) = (self.input(node, 0)?, self.input(node, 1)?);
                vec![add(&mut self.terms, &a, &b.scaled(&of(b_scale)))?]
            }
            Operation::Argmax => {
                self.logits = Some(self.input(node, 0)?);
                vec![]
            }
        })
    }

    fn norm(&mut self, x: &Columns, gamma: Option<&WeightRef>, eps: &Scalar) -> Result<Columns, Unclear> {
        let normed = norm(&mut self.terms, x, &of(eps))?;
        let Some(gamma) = gamma else { return Ok(normed) };
        let factors = constant(&mut self.terms, &gamma.name, x.len());
        mul(&mut self.terms, &normed, &factors)
    }

    /// The integers that a row is rounded to, and its largest magnitude.
    fn quantized(&mut self, x: &Columns, floor: &bitnetc_plan::Scalar) -> Result<(Columns, Columns), Unclear> {
        let terms = &mut self.terms;
        let magnitudes = unary(terms, &Unary::Abs, x)?;
        let largest = row_max(terms, &magnitudes)?;
        let maxima = unary(terms, &Unary::MaxScalar(floor.clone()), &largest)?;
        let inverse = unary(terms, &Unary::Recip, &maxima)?.scaled(&Scale::number(127.0));
        let scaled = mul(terms, x, &inverse)?;
        let rounded = unary(terms, &Unary::Round, &scaled)?;
        Ok((unary(terms, &Unary::Clamp(-128.0, 127.0), &rounded)?, maxima))
    }

    /// `y * (maxima / 127)^power`.
    fn dequantized(&mut self, y: &Columns, maxima: &Columns, power: i32) -> Result<Columns, Unclear> {
        let mut factor = maxima.scaled(&Scale::number(1.0 / 127.0));
        if power < 0 {
            factor = unary(&mut self.terms, &Unary::Recip, &factor)?;
        }
        (0..power.unsigned_abs()).try_fold(y.clone(), |y, _| mul(&mut self.terms, &y, &factor))
    }

    fn linear(&mut self, x: &Columns, linear: &Linear) -> Result<Columns, Unclear> {
        let (input, maxima) = match linear.activations {
            ActivationQuant::None => (x.clone(), None),
            ActivationQuant::Int8PerToken => {
                let (integers, maxima) = self.quantized(x, &FLOOR.into())?;
                (integers, Some(maxima))
            }
        };
        let mut result = Columns::default();
        for part in &linear.parts {
            let product = product(&mut self.terms, &input, &[matrix(&part.weight)])?;
            result.append(&product.scaled(&of(&part.scale)));
        }
        if let Some(maxima) = maxima {
            result = self.dequantized(&result, &maxima, 1)?;
        }
        linear.unary.map_or(Ok(result.clone()), |activation| self.activated(&result, activation))
    }

    fn split(&self, node: NodeId, widths: [u32; 3]) -> Result<Vec<Columns>, Unclear> {
        if self.graph.inputs(node).len() == 3 {
            return (0..3).map(|at| self.input(node, at)).collect();
        }
        let (all, mut first) = (self.input(node, 0)?, 0);
        let mut parts = Vec::new();
        for width in widths {
            parts.push(all.slice(first, width)?);
            first += width;
        }
        Ok(parts)
    }

    /// Queries or keys with their halves turned.
    fn rope(&mut self, node: NodeId, at: usize, rope: &Rope) -> Result<Columns, Unclear> {
        let (columns, heads) = self.heads(node, at)?;
        let context = self.graph.context;
        let (frequencies, amplitude) = rope.frequencies(1);
        let longer = rope.frequencies(context).0;
        let long = rope.short_sequence().filter(|short| *short < context);
        let rates = rates(&mut self.terms, &frequencies, long.map(|short| (short as u32, longer.as_slice())));
        let half = rope.dim / 2;
        let mut turned = Columns::default();
        for head in each(&columns, heads)? {
            let pairs = (0..half).map(|pair| Coordinates { a: pair, b: pair + half, rate: pair });
            turned.append(&turn(&mut self.terms, &head, pairs, rates, amplitude)?);
        }
        Ok(turned)
    }

    fn factor(&mut self, x: &Columns, input: &MulInput) -> Result<Columns, Unclear> {
        let scaled = x.scaled(&of(&input.scale));
        input.unary.iter().try_fold(scaled, |x, activation| self.activated(&x, *activation))
    }

    fn activated(&mut self, x: &Columns, activation: Activation) -> Result<Columns, Unclear> {
        let functions: &[Unary] = match activation {
            Activation::Relu => &[Unary::Relu],
            Activation::Relu2 => &[Unary::Relu, Unary::Square],
            Activation::Square => &[Unary::Square],
            Activation::Silu => &[Unary::Silu],
        };
        functions.iter().try_fold(x.clone(), |x, function| unary(&mut self.terms, function, &x))
    }
}

fn of(scale: &Scalar) -> Scale {
    Scale::from(&scalar(scale))
}
