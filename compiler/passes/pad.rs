//! Pad: how many columns a value has on the card, where those of the model are no whole tiles.
//!
//! | value | padded |
//! |---|---|
//! | rows of the embedding, products of projections | at the end |
//! | queries, keys, values, their projection, and merged heads | after each head |
//! | anything else | as what it is computed from |
//!
//! [`bitnetc_plan::padding`] says why the function is the same. The graph itself stays as it is: its widths are the model's.

use std::collections::HashMap;

use bitnetc_plan::{Padding, TILE};

use crate::graph::{Graph, NodeId, Operation, Role, Section, Shape, Value};

/// Columns of a row that is quantised: TT-NN's `max` over narrower rows takes another kernel (`row_max.FULL_COLUMNS`).
const LEAST_QUANTISED: u32 = 4 * TILE;

/// The padding of a graph's values.
#[derive(Debug, Clone, Default)]
pub struct Paddings {
    known: HashMap<Value, Padding>,
    least: u32,
}

impl Paddings {
    /// The padding of every value of `graph`. Logits have none: the LM head cuts the vocabulary itself.
    pub fn of(graph: &Graph) -> Paddings {
        let quantised = graph.nodes().any(|node| matches!(graph.node(node).op, Operation::Quantize { .. }));
        let mut paddings = Paddings { known: HashMap::new(), least: if quantised { LEAST_QUANTISED } else { 0 } };
        for section in Section::ALL {
            for node in graph.order(section) {
                if let Some(padding) = paddings.made_by(graph, node) {
                    paddings.known.insert(node.into(), padding);
                }
            }
        }
        paddings
    }

    /// The padding of a value, if it has any.
    pub fn get(&self, value: Value) -> Option<Padding> {
        self.known.get(&value).copied()
    }

    /// Columns of a head on the card, of `heads` query heads of `head_dim` numbers.
    pub fn head(&self, heads: usize, head_dim: usize) -> u32 {
        self.split(1, heads, head_dim).map_or(head_dim as u32, |padding| padding.to)
    }

    fn split(&self, groups: usize, heads: usize, head_dim: usize) -> Option<Padding> {
        Padding::to_tiles(groups as u32, head_dim as u32, self.least.div_ceil(heads.max(1) as u32))
    }

    /// The padding of a node's first output.
    fn made_by(&self, graph: &Graph, node: NodeId) -> Option<Padding> {
        let row = |width: usize| Padding::to_tiles(1, width as u32, self.least);
        let first = || self.get(*graph.inputs(node).first()?);
        match &graph.node(node).op {
            Operation::Embedding { weight } => row(weight.shape[1]),
            Operation::Linear(_) if graph.node(node).role == Role::LmHead => None,
            Operation::Linear(linear) => match split_after(graph, node) {
                Some(Split { heads, head_dim, .. }) => self.split(linear.out_width() / head_dim, heads, head_dim),
                None => row(linear.out_width()),
            },
            Operation::MergeHeads => match graph.value_type(*graph.inputs(node).first()?).shape {
                Shape::Heads { heads, head_dim, .. } => self.split(heads, heads, head_dim),
                Shape::Ids | Shape::Features(_) | Shape::Cache { .. } => None,
            },
            Operation::Carry
            | Operation::RmsNorm { .. }
            | Operation::Quantize { .. }
            | Operation::Dequantize { .. }
            | Operation::Scale { .. }
            | Operation::Bias(_)
            | Operation::Activation(_)
            | Operation::Mul { .. }
            | Operation::Add { .. }
            | Operation::LastToken => first(),
            // The columns of heads are those that `head` gives.
            Operation::SplitHeads { .. }
            | Operation::Rope(_)
            | Operation::CacheUpdate { .. }
            | Operation::Attention { .. } => None,
            Operation::Tokens | Operation::Argmax => None,
        }
    }
}

/// How a projection's output is split into heads.
#[derive(Debug, Clone, Copy)]
pub struct Split {
    /// Query heads.
    pub heads: usize,
    /// The model's numbers of a head.
    pub head_dim: usize,
    /// The first of q, k and v that the output is: 0, unless each has a projection of its own.
    pub first: usize,
}

/// The heads into which a projection's output is split; `None` if it is not split.
pub fn split_after(graph: &Graph, node: NodeId) -> Option<Split> {
    let mut at = node;
    loop {
        let user = graph.only_user(at.into())?;
        match graph.node(user.node).op {
            Operation::SplitHeads { heads, head_dim, .. } => return Some(Split { heads, head_dim, first: user.input }),
            Operation::Dequantize { .. } | Operation::Scale { .. } if user.input == 0 => at = user.node,
            Operation::Bias(_) => at = user.node,
            Operation::Tokens
            | Operation::Embedding { .. }
            | Operation::Carry
            | Operation::RmsNorm { .. }
            | Operation::Quantize { .. }
            | Operation::Dequantize { .. }
            | Operation::Scale { .. }
            | Operation::Linear(_)
            | Operation::Rope(_)
            | Operation::CacheUpdate { .. }
            | Operation::Attention { .. }
            | Operation::MergeHeads
            | Operation::Activation(_)
            | Operation::Mul { .. }
            | Operation::Add { .. }
            | Operation::LastToken
            | Operation::Argmax => return None,
        }
    }
}
