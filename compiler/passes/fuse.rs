//! Fusing: the graph is rewritten into fewer and larger operations that compute the same function.
//!
//! | before | after |
//! |---|---|
//! | q, k and v projections of one input, split into heads | one projection, its columns q, then k, then v |
//! | relu2 of the gate, times up | relu in the gate's projection, square on the product's operand |
//! | something plus the residual stream | the residual stream plus it |
//! | silu (or relu) of the gate, times up | silu on the product's operand (relu in the projection) |
//!
//! Gate and up stay two projections, since splitting a joined result costs more than it saves. Transposes never enter the graph: weights
//! are transposed when they are packed, and heads are split and merged by operations of their own.

use crate::graph::{Activation, Graph, Linear, MulInput, NodeId, Operation, Scalar, TypeError, Use, Value};

/// Applies the rewrites of the table. Running it again changes nothing.
///
/// # Errors
/// A [`TypeError`] means that the graph was broken before the pass; [`Graph::check`] finds the same.
pub fn fuse(graph: &mut Graph) -> Result<(), TypeError> {
    stream_first(graph);
    let splits: Vec<_> = graph.nodes().filter(|&n| matches!(graph.node(n).op, Operation::SplitHeads { .. })).collect();
    for split in splits {
        qkv(graph, split)?;
    }
    let unaries: Vec<_> = graph.nodes().filter(|&n| matches!(graph.node(n).op, Operation::Activation(_))).collect();
    // The last function of a chain is moved first, so that the one before it is then read by the product.
    for unary in unaries.into_iter().rev() {
        into_product(graph, unary);
    }
    let products: Vec<_> = graph.nodes().filter(|&n| matches!(graph.node(n).op, Operation::Mul { .. })).collect();
    for product in products {
        relu_into_projection(graph, product);
    }
    Ok(())
}

/// Swaps the inputs of residual additions where needed, so that the residual stream is the first: an addition writes its result over its
/// first input.
fn stream_first(graph: &mut Graph) {
    let stream = graph.stream();
    for pair in stream.windows(2) {
        let sum = pair[1].node;
        if let [other, second] = graph.inputs(sum)[..]
            && second == pair[0]
            && graph.node(sum).op == (Operation::Add { b_scale: Scalar::ONE })
        {
            graph.redirect(Use { node: sum, input: 0 }, second);
            graph.redirect(Use { node: sum, input: 1 }, other);
        }
    }
}

fn linear(graph: &Graph, node: NodeId) -> Option<&Linear> {
    let Operation::Linear(linear) = &graph.node(node).op else { return None };
    Some(linear)
}

/// Joins the projections that feed a three-input split. They can be one when they read the same value, quantise it in the same way, are of
/// one kind, and have no other reader.
fn qkv(graph: &mut Graph, split: NodeId) -> Result<(), TypeError> {
    let inputs = graph.inputs(split);
    let [q, k, v] = inputs[..] else { return Ok(()) };
    let sources = [q.node, k.node, v.node];
    let Some(first) = linear(graph, q.node).cloned() else { return Ok(()) };
    let input = graph.inputs(q.node);
    let mut parts = Vec::new();
    for (at, node) in sources.into_iter().enumerate() {
        let Some(one) = linear(graph, node) else { return Ok(()) };
        let alike =
            one.activations == first.activations && one.unary.is_none() && one.is_ternary() == first.is_ternary();
        let alone = graph.only_user(Value::from(node)) == Some(Use { node: split, input: at });
        if !alike || !alone || graph.inputs(node) != input || sources[..at].contains(&node) {
            return Ok(());
        }
        parts.extend(one.parts.iter().cloned());
    }
    let (section, role) = (graph.node(q.node).section, graph.node(q.node).role);
    let fused = Operation::Linear(Linear { parts, activations: first.activations, unary: None });
    let name = graph.node(split).name.clone();
    let op = graph.node(split).op.clone();
    let split_role = graph.node(split).role;
    let fused = graph.add(&graph.fresh_name("qkv"), section, role, fused, &input)?;
    let joined = graph.add(&name, section, split_role, op, &[fused.into()])?;
    for output in 0..graph.node(split).outputs.len() {
        graph.replace(Value { node: split, output }, Value { node: joined, output });
    }
    for node in [split, q.node, k.node, v.node] {
        graph.remove(node);
    }
    Ok(())
}

/// Moves an activation function that only one product reads into that product's input.
fn into_product(graph: &mut Graph, id: NodeId) {
    let Operation::Activation(unary) = graph.node(id).op else { return };
    let (Some(user), Some(&input)) = (graph.only_user(id.into()), graph.inputs(id).first()) else { return };
    let Operation::Mul { a, b } = &mut graph.node_mut(user.node).op else { return };
    let operand = if user.input == 0 { a } else { b };
    if !operand.scale.is_one() {
        return;
    }
    let steps: &[Activation] = match unary {
        Activation::Relu2 => &[Activation::Relu, Activation::Square],
        Activation::Relu => &[Activation::Relu],
        Activation::Square => &[Activation::Square],
        Activation::Silu => &[Activation::Silu],
    };
    operand.unary.splice(0..0, steps.iter().copied());
    graph.redirect(user, input);
    graph.remove(id);
}

/// Moves a relu that is the first function of a product's input into the projection that only this product reads.
fn relu_into_projection(graph: &mut Graph, product: NodeId) {
    for (input, value) in graph.inputs(product).into_iter().enumerate() {
        let alone = graph.only_user(value) == Some(Use { node: product, input });
        let free = linear(graph, value.node).is_some_and(|l| l.unary.is_none());
        let Operation::Mul { a, b } = &mut graph.node_mut(product).op else { return };
        let operand: &mut MulInput = if input == 0 { a } else { b };
        if alone && free && operand.unary.first() == Some(&Activation::Relu) && operand.scale.is_one() {
            operand.unary.remove(0);
            if let Operation::Linear(linear) = &mut graph.node_mut(value.node).op {
                linear.unary = Some(Activation::Relu);
            }
        }
    }
}
