//! Value analysis: what is known of every number of a value, as the card stores it.
//!
//! A [`Content`] bounds the significant bits of a number, and where all numbers lie on one grid it bounds their range: `n * 2^exponent`
//! with whole `n` from `min` to `max`. [`Values::of`] carries contents through the graph, one rule per operation, and rounds each
//! result to the data type it is stored in. The residual stream is joined around the layer loop until it does not change.
//!
//! A bound is never too tight. Where a rule knows nothing it answers what the data type allows: bf16 has 8 significant bits, bfp8 and
//! bfp4 have 7 and 3 below the exponent they share in a group of 16. Rounding on a card is to a power of two, so what it makes of a
//! multiple of `2^exponent` is one too.

use std::collections::HashMap;

use bitnetc_plan::DType;

use crate::graph::{Activation, Graph, Linear, MulInput, NodeId, Operation, Role, Scalar, Section, Value};
use crate::policy::Precision;

/// Sums of a matrix product below this are exact in fp32, in units of its grid: the destination has 24 bits, and the matrix unit aligns
/// its operands to one more.
pub const EXACT_SUM: u64 = 1 << 23;

/// Exponents of grids that no product of bf16 numbers takes out of range.
const EXPONENTS: std::ops::RangeInclusive<i32> = -64..=63;

/// Whole multiples of a power of two, within a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// The numbers are multiples of `2^exponent`.
    pub exponent: i32,
    /// The least, in that unit.
    pub min: i64,
    /// The largest, in that unit.
    pub max: i64,
}

impl Grid {
    /// The largest magnitude, in units of the grid.
    pub const fn magnitude(self) -> u64 {
        let (low, high) = (self.min.unsigned_abs(), self.max.unsigned_abs());
        if low > high { low } else { high }
    }

    /// Most significant bits of a number: a power of two has one, so -128 to 127 has seven.
    const fn significant_bits(self) -> u32 {
        let largest = self.magnitude();
        let length = u64::BITS - largest.leading_zeros();
        if largest > 1 && largest.is_power_of_two() { length - 1 } else { length }
    }

    /// The range after rounding to `bits` below the leading bit of the largest magnitude; what is rounded stays on the grid.
    fn rounded(self, bits: u32) -> Option<Self> {
        let drop = (u64::BITS - self.magnitude().leading_zeros()).saturating_sub(bits);
        let unit = 1_i64.checked_shl(drop)?;
        let out = |n: i64| n.div_euclid(unit).checked_add(i64::from(n.rem_euclid(unit) != 0))?.checked_mul(unit);
        Some(Grid { min: -out(self.min.checked_neg()?)?, max: out(self.max)?, ..self })
    }

    /// Both grids in the finer of their units.
    fn aligned(self, other: Self) -> Option<(Self, Self)> {
        let exponent = self.exponent.min(other.exponent);
        let to = |grid: Grid| {
            let factor = 1_i64.checked_shl(u32::try_from(grid.exponent.checked_sub(exponent)?).ok()?)?;
            Some(Grid { exponent, min: grid.min.checked_mul(factor)?, max: grid.max.checked_mul(factor)? })
        };
        to(self).zip(to(other))
    }

    fn plus(self, other: Self) -> Option<Self> {
        let (a, b) = self.aligned(other)?;
        Some(Grid { exponent: a.exponent, min: a.min.checked_add(b.min)?, max: a.max.checked_add(b.max)? })
    }

    fn times(self, other: Self) -> Option<Self> {
        let corners = [(self.min, other.min), (self.min, other.max), (self.max, other.min), (self.max, other.max)];
        let products: Vec<i64> = corners.into_iter().map(|(a, b)| a.checked_mul(b)).collect::<Option<_>>()?;
        let (min, max) = (products.iter().min()?, products.iter().max()?);
        Some(Grid { exponent: self.exponent.checked_add(other.exponent)?, min: *min, max: *max })
    }

    fn join(self, other: Self) -> Option<Self> {
        let (a, b) = self.aligned(other)?;
        Some(Grid { exponent: a.exponent, min: a.min.min(b.min), max: a.max.max(b.max) })
    }
}

/// What is known of a value's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Most significant bits of a number.
    pub significant_bits: u32,
    /// Where all numbers lie, if it is known.
    pub grid: Option<Grid>,
}

impl Content {
    /// Any f32 number.
    pub const F32: Content = Content { significant_bits: 24, grid: None };
    /// Any bf16 number.
    pub const BF16: Content = Content { significant_bits: 8, grid: None };
    /// Any bfp8 number.
    pub const BFP8: Content = Content { significant_bits: 7, grid: None };
    /// What quantising by row to int8 makes: the scale maps the row's maximum to 127, where its reciprocal may round it to 128 before
    /// the clamp to -128 to 127.
    pub const INT8: Content = Content::whole(-128, 127);
    /// A ternary weight.
    pub const TERNARY: Content = Content::whole(-1, 1);

    /// Integers of a range.
    pub const fn whole(min: i64, max: i64) -> Content {
        let grid = Grid { exponent: 0, min, max };
        Content { significant_bits: grid.significant_bits(), grid: Some(grid) }
    }

    /// On a grid, with as many bits as its range has.
    fn on(grid: Option<Grid>) -> Content {
        grid.map_or(Content::F32, |grid| Content { significant_bits: grid.significant_bits(), grid: Some(grid) })
    }

    /// The numbers after they are stored in `dtype`.
    pub fn stored(self, dtype: DType) -> Content {
        let Some(bits) = precision_of(dtype) else { return self };
        let grid = self.grid.filter(|grid| EXPONENTS.contains(&grid.exponent)).and_then(|grid| grid.rounded(bits));
        Content { significant_bits: self.significant_bits.min(bits), grid }
    }

    /// Whether `dtype` stores every such number as it is: in a block of shared exponents the largest decides for all.
    pub fn fits(self, dtype: DType) -> bool {
        let Some(bits) = precision_of(dtype) else { return false };
        match (dtype, self.grid) {
            (DType::Bfp8 | DType::Bfp4, Some(grid)) => grid.magnitude() < 1 << bits,
            (DType::Bfp8 | DType::Bfp4, None) => false,
            (DType::F32 | DType::Bf16 | DType::U32 | DType::I32, _) => self.significant_bits <= bits,
        }
    }

    /// What holds of the numbers of both.
    fn join(self, other: Self) -> Self {
        Content {
            significant_bits: self.significant_bits.max(other.significant_bits),
            grid: self.grid.zip(other.grid).and_then(|(a, b)| a.join(b)),
        }
    }

    /// Every number times a constant; a power of two moves the grid, any other leaves nothing known.
    fn scaled(self, scale: &Scalar) -> Self {
        let exponent = scale.value.log2();
        let exact = scale.factors.is_empty() && exponent.fract() == 0.0 && exponent.abs() < 64.0;
        if !exact {
            return Content::F32;
        }
        let moved = |g: Grid| Some(Grid { exponent: g.exponent.checked_add(exponent as i32)?, ..g });
        Content { significant_bits: self.significant_bits, grid: self.grid.and_then(moved) }
    }

    fn unary(self, unary: Activation) -> Self {
        let relu = |c: Content| Content {
            significant_bits: c.significant_bits,
            grid: c.grid.map(|g| Grid { min: g.min.max(0), max: g.max.max(0), ..g }),
        };
        // The product of the corners would let a square be negative.
        let square = |c: Content| {
            let magnitude = |g: Grid| Grid { min: 0, max: i64::try_from(g.magnitude()).unwrap_or(i64::MAX), ..g };
            Content::on(c.grid.map(magnitude).and_then(|g| g.times(g)))
        };
        match unary {
            Activation::Relu => relu(self),
            Activation::Square => square(self),
            Activation::Relu2 => square(relu(self)),
            Activation::Silu => Content::F32,
        }
    }

    fn operand(self, operand: &MulInput) -> Self {
        operand.unary.iter().fold(self.scaled(&operand.scale), |content, unary| content.unary(*unary))
    }

    fn times(self, other: Self) -> Self {
        Content::on(self.grid.zip(other.grid).and_then(|(a, b)| a.times(b)))
    }

    fn plus(self, other: Self) -> Self {
        Content::on(self.grid.zip(other.grid).and_then(|(a, b)| a.plus(b)))
    }

    /// The sum of `terms` of these.
    fn summed(self, terms: usize) -> Self {
        let count = i64::try_from(terms).ok().map(|terms| Grid { exponent: 0, min: terms, max: terms });
        Content::on(self.grid.zip(count).and_then(|(grid, terms)| grid.times(terms)))
    }
}

/// Significant bits a number of a data type has at most; none for integer types, which round nothing.
const fn precision_of(dtype: DType) -> Option<u32> {
    match dtype {
        DType::F32 => Some(24),
        DType::Bf16 => Some(8),
        DType::Bfp8 => Some(7),
        DType::Bfp4 => Some(3),
        DType::U32 | DType::I32 => None,
    }
}

/// What a matrix product multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatrixProduct {
    /// What is known of the activations.
    pub activation: Content,
    /// What is known of the weights, as stored.
    pub weight: Content,
    /// Products in a sum, K.
    pub inner: usize,
}

impl MatrixProduct {
    /// Whether both are whole multiples of a unit and phase 0 sees all of every product: 7 significant bits of the activation, 5 of the
    /// weight, and no two products so far apart that aligning them in a group of 8 drops a bit.
    pub fn fit_phase_zero(&self) -> bool {
        let binades = |content: Content| content.grid.map(|grid| grid.magnitude().max(1).ilog2());
        let near = binades(self.activation).zip(binades(self.weight)).is_some_and(|(a, w)| a + w <= 10);
        near && self.activation.significant_bits <= 7 && self.weight.significant_bits <= 5
    }

    /// The sum, where no sum over a part of K can round it in fp32.
    pub fn exact_sum(&self) -> Option<Content> {
        let sum = self.activation.times(self.weight).summed(self.inner);
        let bounded = sum.grid.is_some_and(|grid| grid.magnitude() < EXACT_SUM);
        (bounded && self.fit_phase_zero()).then_some(sum)
    }
}

/// The data type of a projection's product: integers keep their sums until the row factor is applied, since bf16 would round them.
pub fn product_dtype(activation: Content) -> DType {
    if activation.grid.is_some() { DType::F32 } else { DType::Bf16 }
}

/// What a projection's weights hold in `dtype`.
pub fn weight(linear: &Linear, dtype: DType) -> Content {
    if linear.is_ternary() { Content::TERNARY } else { Content::F32.stored(dtype) }
}

/// The contents of a graph's values.
#[derive(Debug, Clone, Default)]
pub struct Values {
    known: HashMap<Value, Content>,
}

impl Values {
    /// Analyses `graph`, of which each product and each attention is to be computed as `asked`.
    pub fn of(graph: &Graph, asked: &HashMap<NodeId, Precision>) -> Values {
        let mut values = Values::default();
        values.section(graph, Section::Prologue, asked);
        values.section(graph, Section::Layer, asked);
        // Around the loop: a stream that changes becomes any bf16 number, which adding to it leaves any bf16 number.
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

    /// What is known of a value; any bf16 number when nothing is.
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

/// What a projection computes: sums that are exact stay on their grid, sums that are rounded on the way may leave its range.
fn product(linear: &Linear, activation: Content, asked: Option<&Precision>) -> Content {
    let Some(asked) = asked.filter(|asked| asked.fp32_dest_acc) else { return Content::F32 };
    let operands = MatrixProduct { activation, weight: weight(linear, asked.weight), inner: linear.in_width() };
    let unscaled = linear.parts.iter().all(|part| part.scale.is_one());
    match operands.exact_sum() {
        Some(sum) if unscaled => linear.unary.map_or(sum, |unary| sum.unary(unary)),
        Some(_) | None => Content::F32,
    }
}

/// An output of an operation, from what is known of its inputs.
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
        // The table is bf16.
        Operation::Embedding { .. } => Content::BF16,
        Operation::Carry => input(0),
        Operation::MergeHeads | Operation::LastToken => input(0).stored(DType::Bf16),
        Operation::SplitHeads { .. } => input(if inputs.len() == 1 { 0 } else { output }).stored(DType::Bf16),
        Operation::Quantize { .. } if output == 0 => Content::INT8,
        // Earlier calls and the other phase filled the cache as well, in a data type that attention is told.
        Operation::CacheUpdate { .. } => Content::BF16,
        // Logits are bf16 or f32, and nobody but argmax reads them.
        Operation::Linear(_) if graph.node(node).role == Role::LmHead => Content::F32,
        Operation::Linear(linear) => product(linear, input(0), asked.get(&node)).stored(product_dtype(input(0))),
        // In the data type of what is scaled, which a power of two does not round.
        Operation::Scale { scale } => input(0).scaled(scale).stored(DType::F32),
        Operation::Activation(unary) => input(0).unary(*unary).stored(DType::Bf16),
        Operation::Mul { a, b } => input(0).operand(a).times(input(1).operand(b)).stored(DType::Bf16),
        Operation::Add { b_scale } => input(0).plus(input(1).scaled(b_scale)).stored(DType::Bf16),
        Operation::RmsNorm { .. }
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
    fn bits_of_a_range_are_those_of_its_numbers() {
        for (content, bits) in [
            (Content::whole(0, 0), 0),
            (Content::TERNARY, 1),
            (Content::whole(0, 2), 1),
            (Content::whole(-127, 127), 7),
            (Content::INT8, 7),
            (Content::whole(0, 129), 8),
        ] {
            assert_eq!(content.significant_bits, bits, "{content:?}");
        }
    }

    #[test]
    fn a_block_with_128_takes_the_last_bit_of_the_others() {
        assert!(!Content::INT8.fits(DType::Bfp8) && Content::whole(-127, 127).fits(DType::Bfp8));
        assert_eq!(grid(Content::INT8.stored(DType::Bfp8)), Some((0, -128, 128)));
        assert_eq!(grid(Content::INT8.stored(DType::Bf16)), Some((0, -128, 127)));
        assert_eq!(grid(Content::whole(-300, 301).stored(DType::Bf16)), Some((0, -300, 302)));
        assert_eq!(Content::whole(-300, 301).stored(DType::Bf16).significant_bits, 8);
    }

    #[test]
    fn elementwise_rules_bound_what_they_make() {
        let relu2 = Content::INT8.unary(Activation::Relu2);
        assert_eq!(grid(relu2), Some((0, 0, 127 * 127)));
        assert_eq!(grid(Content::INT8.unary(Activation::Square)), Some((0, 0, 128 * 128)));
        assert_eq!(grid(relu2.times(Content::whole(-3, 2))), Some((0, -3 * 127 * 127, 2 * 127 * 127)));
        let half = Content::INT8.scaled(&Scalar::number(0.5));
        assert_eq!(grid(half), Some((-1, -128, 127)));
        assert_eq!(grid(half.plus(Content::TERNARY)), Some((-1, -130, 129)));
        assert_eq!(Content::INT8.scaled(&Scalar::number(0.3)).grid, None);
        assert_eq!(Content::INT8.unary(Activation::Silu).grid, None);
        assert_eq!(Content::whole(0, i64::MAX).times(Content::whole(0, 2)).grid, None, "no range, no wrong one");
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
        for name in ["embedded", "x", "qkv.dequant", "product", "attended", "decoded"] {
            assert_eq!(of(name), Content::BF16, "{name}");
        }
        let rounded = HashMap::from_iter(asked.iter().map(|(n, p)| (*n, Precision { fp32_dest_acc: false, ..*p })));
        assert_eq!(Values::of(&graph, &rounded).get(graph.find("qkv").unwrap().into()), Content::F32, "sums in bf16");
    }
}
