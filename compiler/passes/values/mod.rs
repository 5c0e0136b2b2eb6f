//! Value analysis: bounds of the numbers that each value of a graph can hold, as the card stores them.
//!
//! Precision can be lowered without changing a result where the numbers are known to be simple, such as small integers. This analysis
//! finds out where they are. A [`Content`] bounds the significant bits of a number, and where all numbers of a value lie on one grid it
//! bounds their range: they are `n * 2^exponent` with whole `n` from `min` to `max`. [`Values::of`] carries contents through the graph
//! with one rule per operation and rounds each result to the data type in which it is stored. The residual stream goes around the layer
//! loop, so its content is joined with that of the layer's end until it does not change.
//!
//! A bound is never too tight. Where a rule knows nothing, it answers with the bound of the data type: bf16 has 8 significant bits, bfp8
//! and bfp4 have 7 and 3 below the exponent that a group of 16 numbers shares. Rounding on a card is always to a multiple of a power of
//! two, so a rounded multiple of `2^exponent` is still a multiple of it.

mod content;

pub use content::{Content, Grid};

use std::collections::HashMap;

use bitnetc_plan::DType;

use crate::graph::{Graph, Linear, NodeId, Operation, Role, Section, Use, Value};
use crate::policy::Precision;

/// Sums of a matrix product whose magnitude stays below this many units of their grid are exact in fp32. The destination register has 24
/// significant bits, of which the alignment of the products takes one.
pub const EXACT_SUM: u64 = 1 << 23;

/// A matrix product, as far as its exactness is concerned: the bounds of the factors and the number of terms in a sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatrixProduct {
    /// The content of the activations.
    pub activation: Content,
    /// The content of the weights, as they are stored.
    pub weight: Content,
    /// The number of products in each sum, K.
    pub inner: usize,
}

impl MatrixProduct {
    /// Whether phase 0 of the matrix unit computes every product exactly. Both factors must lie on a grid, with at most 7 significant bits
    /// in the activation and 5 in the weight, and no two products may be so far apart that aligning them in a group of 8 drops a bit.
    pub fn fit_phase_zero(&self) -> bool {
        let binades = |content: Content| content.grid.map(|grid| grid.magnitude().max(1).ilog2());
        let near = binades(self.activation).zip(binades(self.weight)).is_some_and(|(a, w)| a + w <= 10);
        near && self.activation.significant_bits <= 7 && self.weight.significant_bits <= 5
    }

    /// The content of the sum, when every product is exact and no partial sum over K can be rounded in fp32; `None` otherwise.
    pub fn exact_sum(&self) -> Option<Content> {
        let sum = self.activation.times(self.weight).summed(self.inner);
        let bounded = sum.grid.is_some_and(|grid| grid.magnitude() < EXACT_SUM);
        (bounded && self.fit_phase_zero()).then_some(sum)
    }
}

/// The data type in which a projection's product is stored. Sums of quantised activations are kept in f32 until the row's factor is
/// applied, since bf16 would round them.
pub fn product_dtype(activation: Content) -> DType {
    if activation.grid.is_some() { DType::F32 } else { DType::Bf16 }
}

/// The data type in which a product of two values is stored: as sums are, until the factors of their rows are applied.
pub fn factors_dtype(graph: &Graph, node: NodeId) -> DType {
    let dequantised = |user: Use| user.input == 0 && matches!(graph.node(user.node).op, Operation::Dequantize { .. });
    if graph.users(node.into()).into_iter().any(dequantised) { DType::F32 } else { DType::Bf16 }
}

/// The content of a projection's weights stored in `dtype`.
pub fn weight(linear: &Linear, dtype: DType) -> Content {
    if linear.is_ternary() { Content::TERNARY } else { Content::F32.stored(dtype) }
}

/// The contents of a graph's values.
#[derive(Debug, Clone, Default)]
pub struct Values {
    known: HashMap<Value, Content>,
}

impl Values {
    /// Analyses `graph`, given the precision `asked` for each matrix product and each attention.
    pub fn of(graph: &Graph, asked: &HashMap<NodeId, Precision>) -> Values {
        let mut values = Values::default();
        values.section(graph, Section::Prologue, asked);
        values.section(graph, Section::Layer, asked);
        // Where a layer changes the bounds of the stream, assume any bf16 number: a sum stored in bf16 is again one, so a second pass
        // over the layer settles it.
        let carry = graph.nodes().find(|n| matches!(graph.node(*n).op, Operation::Carry));
        if let (Some(carry), Some(end)) = (carry, graph.carried()) {
            let start = values.get(carry.into());
            if start.join(values.get(end)) != start {
                values.known.insert(carry.into(), Content::BF16);
                values.section(graph, Section::Layer, asked);
            }
        }
        values.section(graph, Section::Epilogue, asked);
        values
    }

    /// The content of a value; any bf16 number when nothing is known.
    pub fn get(&self, value: Value) -> Content {
        self.known.get(&value).copied().unwrap_or(Content::BF16)
    }

    fn section(&mut self, graph: &Graph, section: Section, asked: &HashMap<NodeId, Precision>) {
        for node in graph.order(section) {
            let inputs: Vec<_> = graph.inputs(node).into_iter().map(|value| self.get(value)).collect();
            for output in 0..graph.node(node).outputs.len() {
                let value = Value { node, output };
                if matches!(graph.node(node).op, Operation::Carry) && self.known.contains_key(&value) {
                    continue;
                }
                let content = transfer(graph, node, output, &inputs, asked);
                self.known.insert(value, content);
            }
        }
    }
}

/// The content of a projection's result. Exact sums stay on their grid; sums that are rounded on the way may leave its range, so nothing is
/// assumed of them.
fn product(linear: &Linear, activation: Content, asked: Option<&Precision>) -> Content {
    let Some(asked) = asked.filter(|asked| asked.fp32_dest_acc) else { return Content::F32 };
    let operands = MatrixProduct { activation, weight: weight(linear, asked.weight), inner: linear.in_width() };
    let unscaled = linear.parts.iter().all(|part| part.scale.is_one());
    match operands.exact_sum() {
        Some(sum) if unscaled => linear.unary.map_or(sum, |unary| sum.unary(unary)),
        Some(_) | None => Content::F32,
    }
}

/// The content of one output of a node, from the contents of its inputs: one rule per operation.
fn transfer(
    graph: &Graph,
    node: NodeId,
    output: usize,
    inputs: &[Content],
    asked: &HashMap<NodeId, Precision>,
) -> Content {
    let input = |at: usize| inputs.get(at).copied().unwrap_or(Content::BF16);
    match &graph.node(node).op {
        Operation::Tokens | Operation::Argmax => Content::whole(0, u32::MAX as i64),
        // The embedding table is stored in bf16.
        Operation::Embedding { .. } => Content::BF16,
        Operation::Carry => input(0),
        Operation::MergeHeads | Operation::LastToken => input(0).stored(DType::Bf16),
        Operation::SplitHeads { .. } => input(if inputs.len() == 1 { 0 } else { output }).stored(DType::Bf16),
        Operation::Quantize { .. } if output == 0 => Content::INT8,
        // Earlier steps and the other phase have also written to the cache, so nothing is assumed beyond bf16.
        Operation::CacheUpdate { .. } => Content::BF16,
        // Logits may be stored in f32, and only argmax reads them.
        Operation::Linear(_) if graph.node(node).role == Role::LmHead => Content::F32,
        Operation::Linear(linear) => product(linear, input(0), asked.get(&node)).stored(product_dtype(input(0))),
        // The result has the data type of the input, and a power of two rounds nothing in it.
        Operation::Scale { scale } => input(0).scaled(scale).stored(DType::F32),
        Operation::Activation(unary) => input(0).unary(*unary).stored(DType::Bf16),
        Operation::Mul { a, b } => {
            input(0).as_mul_input(a).times(input(1).as_mul_input(b)).stored(factors_dtype(graph, node))
        }
        Operation::Add { b_scale } => input(0).plus(input(1).scaled(b_scale)).stored(DType::Bf16),
        Operation::RmsNorm { .. }
        | Operation::Bias(_)
        | Operation::Quantize { .. }
        | Operation::Dequantize { .. }
        | Operation::Rope(_)
        | Operation::Attention { .. } => Content::BF16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::PhaseKind;
    use crate::model;
    use crate::passes::prepare;
    use crate::policy::Policy;

    fn grid(content: Content) -> Option<(i32, i64, i64)> {
        content.grid.map(|g| (g.exponent, g.min, g.max))
    }

    #[test]
    fn sums_are_exact_up_to_the_largest_k() {
        let sum = |inner| MatrixProduct { activation: Content::INT8, weight: Content::TERNARY, inner }.exact_sum();
        assert_eq!(sum(65_535).and_then(grid), Some((0, -128 * 65_535, 128 * 65_535)));
        assert_eq!(sum(65_536), None);
        let wide = MatrixProduct { activation: Content::whole(-64, 64), weight: Content::whole(-32, 31), inner: 1 };
        assert!(!wide.fit_phase_zero(), "2^6 x 2^5 is 11 binades above the unit");
    }

    /// The quantised input of every ternary projection is int8, its product the exact sum, everything else any bf16 number.
    #[test]
    fn integers_reach_from_a_quantisation_to_its_dequantisation() {
        let model = model::find("bitnet-2b-4t").unwrap().model().unwrap();
        let mut graph = model.to_graph(PhaseKind::Decode { batch: 1 }, 128).unwrap();
        prepare(&mut graph, Policy::Exact, true).unwrap();
        let exact = Precision { weight: DType::Bfp4, fidelity: bitnetc_plan::Fidelity::LoFi, fp32_dest_acc: true };
        let asked: HashMap<_, _> = graph.nodes().map(|node| (node, exact)).collect();
        let values = Values::of(&graph, &asked);
        let of = |name: &str| values.get(graph.find(name).unwrap().into());
        assert_eq!(of("attn_norm.int8"), Content::INT8);
        assert_eq!(grid(of("qkv")), Some((0, -128 * 2560, 128 * 2560)));
        assert_eq!(grid(of("gate")), Some((0, 0, 128 * 2560)), "after its relu");
        for name in ["embedded", "x", "qkv.dequant", "product.dequant", "attended", "decoded"] {
            assert_eq!(of(name), Content::BF16, "{name}");
        }
        let rounded = HashMap::from_iter(asked.iter().map(|(n, p)| (*n, Precision { fp32_dest_acc: false, ..*p })));
        assert_eq!(Values::of(&graph, &rounded).get(graph.find("qkv").unwrap().into()), Content::F32, "sums in bf16");
    }
}
