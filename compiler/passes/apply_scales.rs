//! Weight scales without folding: every scale multiplies the product of its own projection before anything else is computed from it.
//!
//! | the product is read by | and is multiplied |
//! |---|---|
//! | a dequantisation | by its constant |
//! | the second operand of a residual addition | as that operand is read (`MUL_UNARY_SFPU`) |
//! | a gate product | as its operand is read |
//! | a head split, with a scale for each of q, k and v | by a call of its own on each |
//! | nothing, as the LM head's | is that of an input that was multiplied before: by its dequantisation, or by a call of its own |
//! | anything else | by a call of its own |
//!
//! The graph computes the same function as after [`super::fold_scales`], with other roundings. It serves to compare the two and is not
//! meant to be fast. A projection with a fused function that does not commute with a positive factor keeps its scale, and `select` refuses
//! it.

use super::fold_scales::{Split, divided, homogeneous, only_read, split_of, uniform_scale};
use crate::graph::{Graph, NodeId, Operation, Role, Scalar, Section, TypeError, Use, Value};

/// Multiplies every scale where it arises.
///
/// # Errors
/// A [`TypeError`] means that the graph was broken before the pass.
pub fn apply_scales(graph: &mut Graph) -> Result<(), TypeError> {
    for section in Section::ALL {
        for id in graph.order(section) {
            if graph.node(id).role == Role::LmHead {
                lm_head(graph, id)?;
            } else {
                projection(graph, id)?;
            }
        }
    }
    Ok(())
}

/// Multiplies the input of an LM head that has a scale, instead of the logits, which are a result as they leave the projection.
///
/// # Errors
/// A [`TypeError`] means that the graph was broken before the pass.
pub fn lm_head(graph: &mut Graph, id: NodeId) -> Result<(), TypeError> {
    let input = graph.inputs(id).first().copied();
    let scale = uniform_scale(graph, id).filter(|scale| !scale.is_one());
    let (Some(scale), Some(input)) = (scale, input) else { return Ok(()) };
    if let Some(Operation::Dequantize { scale: own, .. }) = only_read(graph, id).map(|n| &mut graph.node_mut(n).op) {
        *own = own.times(&scale);
    } else {
        let name = graph.fresh_name(&format!("{}.scaled", graph.value_name(input)));
        let section = graph.node(id).section;
        let node = graph.add(&name, section, Role::Quant, Operation::Scale { scale }, &[input])?;
        graph.redirect(Use { node: id, input: 0 }, node.into());
    }
    unscale(graph, id);
    Ok(())
}

fn unscale(graph: &mut Graph, id: NodeId) {
    if let Operation::Linear(linear) = &mut graph.node_mut(id).op {
        linear.parts.iter_mut().for_each(|part| part.scale = Scalar::ONE);
    }
}

fn projection(graph: &mut Graph, id: NodeId) -> Result<(), TypeError> {
    let Operation::Linear(linear) = &graph.node(id).op else { return Ok(()) };
    // `f(s * x) = s * f(x)` holds for degree 1 alone.
    if linear.unary.is_some_and(|unary| homogeneous(unary) != Some(1)) {
        return Ok(());
    }
    let scales: Vec<Scalar> = linear.parts.iter().map(|p| p.scale.clone()).collect();
    let uniform = scales.windows(2).all(|pair| pair[0] == pair[1]);
    match split_of(graph, id) {
        Some(Split { node: split, bias }) => {
            for (output, scale) in scales.iter().enumerate() {
                if let Some(bias) = bias {
                    graph.node_mut(bias).op = divided(graph, bias, output..output + 1, scale);
                }
                multiply(graph, Value { node: split, output }, scale)?;
            }
        }
        None if uniform => match scales.first() {
            Some(scale) if absorb(graph, id.into(), scale) => {}
            Some(scale) => multiply(graph, id.into(), scale)?,
            None => {}
        },
        None => return Ok(()),
    }
    unscale(graph, id);
    Ok(())
}

/// Moves the scale into the only reader of a value, if that reader multiplies by a constant anyway. Returns whether it did.
fn absorb(graph: &mut Graph, value: Value, scale: &Scalar) -> bool {
    let Some(user) = graph.only_user(value) else { return false };
    let own = match &mut graph.node_mut(user.node).op {
        Operation::Dequantize { scale, .. } if user.input == 0 => scale,
        Operation::Add { b_scale } if user.input == 1 => b_scale,
        Operation::Mul { a, .. } if user.input == 0 => &mut a.scale,
        Operation::Mul { b, .. } => &mut b.scale,
        Operation::Tokens
        | Operation::Embedding { .. }
        | Operation::Carry
        | Operation::RmsNorm { .. }
        | Operation::Quantize { .. }
        | Operation::Dequantize { .. }
        | Operation::Scale { .. }
        | Operation::Linear(_)
        | Operation::Bias(_)
        | Operation::SplitHeads { .. }
        | Operation::Rope(_)
        | Operation::CacheUpdate { .. }
        | Operation::Attention { .. }
        | Operation::MergeHeads
        | Operation::Activation(_)
        | Operation::Add { .. }
        | Operation::LastToken
        | Operation::Argmax => return false,
    };
    *own = own.times(scale);
    true
}

/// Adds a node that multiplies a value, and lets all readers read its result.
fn multiply(graph: &mut Graph, value: Value, scale: &Scalar) -> Result<(), TypeError> {
    if scale.is_one() {
        return Ok(());
    }
    let name = graph.fresh_name(&format!("{}.scaled", graph.value_name(value)));
    let section = graph.node(value.node).section;
    let node = graph.add(&name, section, Role::Quant, Operation::Scale { scale: scale.clone() }, &[value])?;
    graph.replace(value, node.into());
    Ok(())
}
