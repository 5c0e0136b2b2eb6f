//! Folding: the output scales of ternary weights move into constants that the schedule has anyway, so that they cost nothing.
//!
//! A projection's output is divided by its scale `s > 0`, and the nodes that read it make up for that:
//!
//! | the scale meets | and goes into |
//! |---|---|
//! | attention, as q or k | the attention scale (rotary embedding is linear) |
//! | attention, as v | what follows: attention is linear in v |
//! | a norm | its epsilon: `s*x / sqrt(mean((s*x)^2) + eps) = x / sqrt(mean(x^2) + eps/s^2)` |
//! | the second operand of a residual addition | `b_scale` |
//! | a bias | what follows; the bias is divided by it as well |
//! | a product, through square or relu | what follows, to the power of the operand's degree |
//! | a product, through silu | the operand's own scale: silu is not homogeneous |
//! | a quantisation | its floor, `1e-5/s`, and the dequantisations that read its factor |
//! | a dequantisation of one matrix | its constant |
//! | another projection | that projection's own scale, folded in its turn |
//! | nothing, as the LM head's | the gamma of the norm before it, or the dequantisation of its input |
//!
//! Each of these is an identity of real numbers, and none rounds more often than the multiplication it replaces. If one of the paths from a
//! projection ends in no such constant, its scale stays where it is. A projection that quantises its own input is such an end, because its
//! floor is fixed; run [`super::activations()`] first.

use crate::graph::{
    Activation, ActivationQuant, Graph, MulInput, NodeId, Operation, Role, Scalar, Section, Use, Value,
};

/// One scale that was moved.
#[derive(Debug, Clone, PartialEq)]
pub struct Fold {
    /// The projection from which it was moved, as `node` or `node[part]`.
    pub from: String,
    /// The scale.
    pub scale: Scalar,
    /// The nodes whose constants took it, in the order in which they were reached.
    pub into: Vec<String>,
}

/// Folds every scale that can be folded, and returns those that were. A scale that is not among them stayed where it was.
pub fn fold_scales(graph: &mut Graph) -> Vec<Fold> {
    let mut folds = Vec::new();
    for section in Section::ALL {
        for id in graph.order(section) {
            if matches!(graph.node(id).op, Operation::Linear(_)) {
                if graph.node(id).role == Role::LmHead {
                    lm_head(graph, id, &mut folds);
                } else {
                    projection(graph, id, &mut folds);
                }
            }
        }
    }
    folds
}

/// The changes that folding one scale would make, by node. They are applied only if every path ends in a constant that takes the scale.
#[derive(Default)]
struct Trial {
    edits: Vec<(NodeId, Operation)>,
    into: Vec<String>,
}

fn projection(graph: &mut Graph, id: NodeId, folds: &mut Vec<Fold>) {
    let Operation::Linear(linear) = &graph.node(id).op else { return };
    let Some(degree) = linear.unary.map_or(Some(1), homogeneous) else { return };
    let scales: Vec<Scalar> = linear.parts.iter().map(|p| p.scale.clone()).collect();
    if let Some(scale) = uniform_scale(graph, id) {
        if !scale.is_one()
            && let Some(trial) = attempt(graph, id.into(), &scale.pow(degree))
        {
            commit(graph, id, 0..usize::MAX, scale, trial, folds);
        }
        return;
    }
    let Some(Split { node: split, bias }) = split_of(graph, id) else { return };
    for (part, scale) in scales.into_iter().enumerate() {
        if scale.is_one() {
            continue;
        }
        let mut trial = Trial::default();
        if let Some(bias) = bias {
            trial.edits.push((bias, divided(graph, bias, part..part + 1, &scale.pow(degree))));
        }
        if absorb(graph, Value { node: split, output: part }, &scale.pow(degree), &mut trial).is_some() {
            commit(graph, id, part..part + 1, scale, trial, folds);
        }
    }
}

/// The logits are a result, which no constant follows; but a projection is linear, so that its scale may multiply its input as well.
fn lm_head(graph: &mut Graph, id: NodeId, folds: &mut Vec<Fold>) {
    let scale = uniform_scale(graph, id);
    let (Some(scale), Some(before)) = (scale.filter(|scale| !scale.is_one()), only_read(graph, id)) else { return };
    let name = graph.node(before).name.clone();
    let (Operation::RmsNorm { gamma: Some(_), scale: own, .. } | Operation::Dequantize { scale: own, .. }) =
        &mut graph.node_mut(before).op
    else {
        return;
    };
    *own = own.times(&scale);
    let trial = Trial { edits: Vec::new(), into: vec![name] };
    commit(graph, id, 0..usize::MAX, scale, trial, folds);
}

/// The scale of a projection whose parts have all the same.
pub(super) fn uniform_scale(graph: &Graph, id: NodeId) -> Option<Scalar> {
    let Operation::Linear(linear) = &graph.node(id).op else { return None };
    let mut scales = linear.parts.iter().map(|part| &part.scale);
    let first = scales.next()?;
    scales.all(|scale| scale == first).then(|| first.clone())
}

/// The node that makes the first input of `id`, if nothing else reads it. Nodes that only pick tokens in between are passed over.
pub(super) fn only_read(graph: &Graph, mut id: NodeId) -> Option<NodeId> {
    loop {
        let value = *graph.inputs(id).first()?;
        graph.only_user(value)?;
        if !matches!(graph.node(value.node).op, Operation::LastToken) {
            return Some(value.node);
        }
        id = value.node;
    }
}

fn attempt(graph: &Graph, value: Value, scale: &Scalar) -> Option<Trial> {
    let mut trial = Trial::default();
    absorb(graph, value, scale, &mut trial)?;
    Some(trial)
}

/// A bias with some of its vectors divided by `scale`.
pub(super) fn divided(graph: &Graph, bias: NodeId, parts: std::ops::Range<usize>, scale: &Scalar) -> Operation {
    let mut op = graph.node(bias).op.clone();
    if let Operation::Bias(offsets) = &mut op {
        let range = parts.start.min(offsets.len())..parts.end.min(offsets.len());
        offsets[range].iter_mut().for_each(|offset| offset.scale = offset.scale.times(&scale.pow(-1)));
    }
    op
}

fn commit(
    graph: &mut Graph,
    id: NodeId,
    parts: std::ops::Range<usize>,
    scale: Scalar,
    trial: Trial,
    folds: &mut Vec<Fold>,
) {
    for (node, op) in trial.edits {
        graph.node_mut(node).op = op;
    }
    let name = graph.node(id).name.clone();
    let from = if parts.end == usize::MAX { name } else { format!("{name}[{}]", parts.start) };
    if let Operation::Linear(linear) = &mut graph.node_mut(id).op {
        for (at, part) in linear.parts.iter_mut().enumerate() {
            if parts.contains(&at) {
                part.scale = Scalar::ONE;
            }
        }
    }
    folds.push(Fold { from, scale, into: trial.into });
}

/// The head split after a projection, and the bias between the two.
pub(super) struct Split {
    pub node: NodeId,
    pub bias: Option<NodeId>,
}

/// The head split that is the only reader of a projection (or of its dequantisation, or of the bias added to either) and that cuts it where
/// its parts, and those of the bias, meet.
pub(super) fn split_of(graph: &Graph, id: NodeId) -> Option<Split> {
    let mut user = graph.only_user(id.into())?;
    if matches!(graph.node(user.node).op, Operation::Dequantize { .. }) && user.input == 0 {
        user = graph.only_user(user.node.into())?;
    }
    let mut bias = None;
    if let Operation::Bias(offsets) = &graph.node(user.node).op {
        bias = Some((user.node, offsets));
        user = graph.only_user(user.node.into())?;
    }
    let Operation::Linear(linear) = &graph.node(id).op else { return None };
    let Operation::SplitHeads { heads, kv_heads, head_dim } = graph.node(user.node).op else { return None };
    let widths: Vec<_> = linear.parts.iter().filter_map(|p| p.weight.shape.first().copied()).collect();
    let cuts = [heads, kv_heads, kv_heads].map(|h| h * head_dim);
    let aligned = bias.is_none_or(|(_, offsets)| offsets.iter().map(|o| o.weight.shape[0]).eq(cuts));
    let fits = widths == cuts && aligned && graph.inputs(user.node).len() == 1;
    fits.then_some(Split { node: user.node, bias: bias.map(|(node, _)| node) })
}

/// Notes the changes by which every reader of `value` makes up for its division by `scale`. `None` when one of them cannot.
fn absorb(graph: &Graph, value: Value, scale: &Scalar, trial: &mut Trial) -> Option<()> {
    if graph.carried() == Some(value) || graph.result() == Some(value) {
        return None;
    }
    graph.users(value).into_iter().try_for_each(|user| reader(graph, user, scale, trial))
}

fn reader(graph: &Graph, user: Use, scale: &Scalar, trial: &mut Trial) -> Option<()> {
    let node = graph.node(user.node);
    let edited = trial.edits.iter().rposition(|(n, _)| *n == user.node);
    let mut op = edited.map_or_else(|| node.op.clone(), |at| trial.edits[at].1.clone());
    let output = |output| Value { node: user.node, output };
    match &mut op {
        Operation::RmsNorm { eps, .. } => *eps = eps.times(&scale.pow(-2)),
        Operation::Add { b_scale } if user.input == 1 => *b_scale = b_scale.times(scale),
        Operation::Attention { scale: own } if user.input < 2 => *own = own.times(scale),
        Operation::Attention { .. } | Operation::MergeHeads | Operation::LastToken => {
            return absorb(graph, output(0), scale, trial);
        }
        Operation::SplitHeads { .. } => {
            let outputs = if graph.inputs(user.node).len() == 3 { user.input..user.input + 1 } else { 0..3 };
            return outputs.into_iter().try_for_each(|at| absorb(graph, output(at), scale, trial));
        }
        Operation::Rope(_) | Operation::CacheUpdate { .. } => return absorb(graph, output(user.input), scale, trial),
        Operation::Mul { a, b } => {
            let operand = if user.input == 0 { a } else { b };
            match degree(operand) {
                Some(degree) => return absorb(graph, output(0), &scale.pow(degree), trial),
                None => operand.scale = operand.scale.times(scale),
            }
        }
        Operation::Bias(offsets) => {
            offsets.iter_mut().for_each(|offset| offset.scale = offset.scale.times(&scale.pow(-1)));
            record(trial, edited, user.node, &node.name, op);
            return absorb(graph, output(0), scale, trial);
        }
        Operation::Activation(unary) => return absorb(graph, output(0), &scale.pow(homogeneous(*unary)?), trial),
        Operation::Quantize { floor } => {
            *floor = floor.times(&scale.pow(-1));
            record(trial, edited, user.node, &node.name, op);
            return absorb(graph, output(1), scale, trial);
        }
        Operation::Dequantize { scale: own, .. } if user.input == 0 => *own = own.times(scale),
        Operation::Dequantize { scale: own, power } => *own = own.times(&scale.pow(*power)),
        Operation::Linear(linear) if linear.activations == ActivationQuant::None => {
            if let Some(unary) = linear.unary {
                let degree = homogeneous(unary)?;
                if degree != 1 {
                    return absorb(graph, output(0), &scale.pow(degree), trial);
                }
            }
            for part in &mut linear.parts {
                part.scale = part.scale.times(scale);
            }
        }
        // The logits are a result too, which a scale would change.
        Operation::Argmax
        | Operation::Add { .. }
        | Operation::Linear(_)
        | Operation::Tokens
        | Operation::Embedding { .. }
        | Operation::Carry
        | Operation::Scale { .. } => {
            return None;
        }
    }
    record(trial, edited, user.node, &node.name, op);
    Some(())
}

fn record(trial: &mut Trial, edited: Option<usize>, node: NodeId, name: &str, op: Operation) {
    match edited {
        Some(at) => trial.edits[at].1 = op,
        None => trial.edits.push((node, op)),
    }
    if !trial.into.iter().any(|n| n == name) {
        trial.into.push(name.to_string());
    }
}

/// The degree of a homogeneous function: `f(s*x) = s^degree * f(x)` for every `s > 0`. `None` when the function is not homogeneous.
pub(super) fn homogeneous(unary: Activation) -> Option<i32> {
    match unary {
        Activation::Relu => Some(1),
        Activation::Relu2 | Activation::Square => Some(2),
        Activation::Silu => None,
    }
}

/// The degree of all functions on an operand, see [`homogeneous`].
pub(super) fn degree(operand: &MulInput) -> Option<i32> {
    operand.unary.iter().try_fold(1, |degree, unary| Some(degree * homogeneous(*unary)?))
}
