//! Fusing: the graph is rewritten into fewer and larger operations that compute the same function.
//!
//! | before | after |
//! |---|---|
//! | q, k and v projections of one input, split into heads | one projection, its columns q, then k, then v; their biases likewise |
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

/// A projection before a head split, and the bias between the two.
struct Projected {
    linear: NodeId,
    bias: Option<NodeId>,
}

/// The projection that feeds an input of a split and nothing else, directly or through a bias.
fn projected(graph: &Graph, input: Use, value: Value) -> Option<Projected> {
    if graph.only_user(value) != Some(input) {
        return None;
    }
    if !matches!(graph.node(value.node).op, Operation::Bias(_)) {
        return Some(Projected { linear: value.node, bias: None });
    }
    let product = *graph.inputs(value.node).first()?;
    let alone = graph.only_user(product) == Some(Use { node: value.node, input: 0 });
    alone.then_some(Projected { linear: product.node, bias: Some(value.node) })
}

/// Joins the projections that feed a three-input split, and their biases. They can be one when they read the same value, quantise it in the
/// same way, are of one kind, have a bias all or none, and have no other reader.
fn qkv(graph: &mut Graph, split: NodeId) -> Result<(), TypeError> {
    let inputs = graph.inputs(split);
    if inputs.len() != 3 {
        return Ok(());
    }
    let mut sources: Vec<Projected> = Vec::new();
    let (mut parts, mut offsets) = (Vec::new(), Vec::new());
    for (at, value) in inputs.into_iter().enumerate() {
        let Some(source) = projected(graph, Use { node: split, input: at }, value) else { return Ok(()) };
        let Some(one) = linear(graph, source.linear) else { return Ok(()) };
        if let Some(first) = sources.first() {
            let Some(other) = linear(graph, first.linear) else { return Ok(()) };
            let alike = one.activations == other.activations
                && one.is_ternary() == other.is_ternary()
                && source.bias.is_some() == first.bias.is_some()
                && graph.inputs(source.linear) == graph.inputs(first.linear);
            if !alike || sources.iter().any(|s| s.linear == source.linear) {
                return Ok(());
            }
        }
        if one.unary.is_some() {
            return Ok(());
        }
        parts.extend(one.parts.iter().cloned());
        if let Some(Operation::Bias(of)) = source.bias.map(|bias| &graph.node(bias).op) {
            offsets.extend(of.iter().cloned());
        }
        sources.push(source);
    }
    let Some((first, activations)) =
        sources.first().and_then(|s| Some((s.linear, linear(graph, s.linear)?.activations)))
    else {
        return Ok(());
    };
    let (section, role, input) = (graph.node(first).section, graph.node(first).role, graph.inputs(first));
    let (name, op, split_role) = (graph.node(split).name.clone(), graph.node(split).op.clone(), graph.node(split).role);
    let fused = Operation::Linear(Linear { parts, activations, unary: None });
    let mut fused = graph.add(&graph.fresh_name("qkv"), section, role, fused, &input)?;
    if let Some(bias) = sources.first().and_then(|s| s.bias) {
        let name = graph.fresh_name("qkv_biased");
        fused = graph.add(&name, section, graph.node(bias).role, Operation::Bias(offsets), &[fused.into()])?;
    }
    let joined = graph.add(&name, section, split_role, op, &[fused.into()])?;
    for output in 0..graph.node(split).outputs.len() {
        graph.replace(Value { node: split, output }, Value { node: joined, output });
    }
    graph.remove(split);
    for Projected { linear, bias } in sources {
        graph.remove(linear);
        bias.map(|bias| graph.remove(bias));
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
