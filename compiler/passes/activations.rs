//! The quantisation of activations: made explicit or left out.
//!
//! A BitNet model rounds the input of every ternary projection to 8-bit integers, each token by its own scale. A policy either keeps that
//! ([`explicit`]) or runs the projections on unrounded activations ([`drop_quantisation`]). The second computes a different function on
//! purpose: it leaves out a rounding with which the model was trained, and its error is measured rather than proved.

use super::fold_scales::degree;
use crate::graph::{ActivationQuant, Graph, NodeId, Operation, Role, Scalar, TypeError, Use, Value};

fn quantised(graph: &Graph) -> Vec<NodeId> {
    let int8 = |n: &NodeId| matches!(&graph.node(*n).op, Operation::Linear(l) if l.activations == ActivationQuant::Int8PerToken);
    graph.nodes().filter(int8).collect()
}

fn clear(graph: &mut Graph, node: NodeId) {
    if let Operation::Linear(linear) = &mut graph.node_mut(node).op {
        linear.activations = ActivationQuant::None;
    }
}

/// Removes activation quantisation. The function of the graph changes by the rounding that is left out.
pub fn drop_quantisation(graph: &mut Graph) {
    for node in quantised(graph) {
        clear(graph, node);
    }
}

/// Turns activation quantisation into nodes: one [`Operation::Quantize`] for every value that quantised projections read, which they share,
/// and one [`Operation::Dequantize`] after each of them. The function stays the same, since the `relu` of a projection commutes with a
/// positive factor. The LM head's is before it, since the product of an LM head is the logits as they leave the card.
///
/// # Errors
/// A [`TypeError`] means that the graph was broken before the pass; [`Graph::check`] finds the same.
pub fn explicit(graph: &mut Graph) -> Result<(), TypeError> {
    let mut shared: Vec<(Value, NodeId)> = Vec::new();
    for linear in quantised(graph) {
        let Some(&input) = graph.inputs(linear).first() else { continue };
        let section = graph.node(linear).section;
        let quantize = match shared.iter().find(|(value, _)| *value == input) {
            Some((_, quantize)) => *quantize,
            None => {
                let name = graph.fresh_name(&format!("{}.int8", graph.value_name(input)));
                let op = Operation::Quantize { floor: Scalar::number(1e-5) };
                let node = graph.add(&name, section, Role::Quant, op, &[input])?;
                shared.push((input, node));
                node
            }
        };
        clear(graph, linear);
        let is_head = graph.node(linear).role == Role::LmHead;
        let scaled: Value = if is_head { quantize.into() } else { linear.into() };
        let name = graph.fresh_name(&format!("{}.dequant", graph.value_name(if is_head { input } else { scaled })));
        let op = Operation::Dequantize { scale: Scalar::ONE, power: 1 };
        let factors = Value { node: quantize, output: 1 };
        let dequantize = graph.add(&name, section, Role::Quant, op, &[scaled, factors])?;
        let reads = Use { node: linear, input: 0 };
        if is_head {
            graph.redirect(reads, dequantize.into());
        } else {
            graph.replace(linear.into(), dequantize.into());
            graph.redirect(reads, quantize.into());
        }
    }
    Ok(())
}

/// The most rows of a phase in which dequantisations move behind products. The product is then f32, as its operands are: three tensors of
/// the MLP's width live at once. In a long prefill they would decide what fits into DRAM, and the same bytes are moved either way, so that
/// one call less is all that would be won.
pub const MOST_ROWS_OF_F32_PRODUCTS: u32 = 512;

/// Moves the dequantisations of both operands of a product behind it, as one, where one quantisation made the factors of both:
/// `f(m*x) * g(m*y) = m^n * f(x) * g(y)` when f and g are homogeneous and their degrees are n in all. The product of the sums is then rounded
/// once.
///
/// # Errors
/// A [`TypeError`] means that the graph was broken before the pass.
pub fn dequantise_products(graph: &mut Graph) -> Result<(), TypeError> {
    let products: Vec<_> = graph.nodes().filter(|&n| matches!(graph.node(n).op, Operation::Mul { .. })).collect();
    for product in products {
        let Some(found) = undone(graph, product) else { continue };
        let name = graph.fresh_name(&format!("{}.dequant", graph.value_name(product.into())));
        let section = graph.node(product).section;
        let op = Operation::Dequantize { scale: Scalar::ONE, power: found.power };
        let dequantize = graph.add(&name, section, Role::Quant, op, &[product.into(), found.factors])?;
        graph.replace(product.into(), dequantize.into());
        graph.redirect(Use { node: dequantize, input: 0 }, product.into());
        for (input, (node, sums)) in found.operands.into_iter().enumerate() {
            graph.redirect(Use { node: product, input }, sums);
            graph.remove(node);
        }
    }
    Ok(())
}

/// Dequantisations that one after a product can stand for.
struct Undone {
    /// Each with what it dequantises.
    operands: Vec<(NodeId, Value)>,
    factors: Value,
    power: i32,
}

fn undone(graph: &Graph, product: NodeId) -> Option<Undone> {
    let Operation::Mul { a, b } = &graph.node(product).op else { return None };
    let mut operands = Vec::new();
    let mut factors = Vec::new();
    let mut power = 0;
    for (input, (value, operand)) in graph.inputs(product).into_iter().zip([a, b]).enumerate() {
        let alone = graph.only_user(value) == Some(Use { node: product, input });
        let Operation::Dequantize { scale, power: own } = &graph.node(value.node).op else { return None };
        if !alone || !scale.is_one() {
            return None;
        }
        let &[sums, maxima] = graph.inputs(value.node).as_slice() else { return None };
        operands.push((value.node, sums));
        factors.push(maxima);
        power += own * degree(operand)?;
    }
    let &[factors, other] = factors.as_slice() else { return None };
    (factors == other).then_some(Undone { operands, factors, power })
}
