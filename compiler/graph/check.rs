//! Invariants of a graph.

use super::{Graph, NodeId, Operation, Section, Shape, TypeError, WeightRef};
use std::collections::HashSet;

/// A broken invariant of a [`Graph`]. Passes end in [`Graph::check`], so each of these is a defect of the pass before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// Two nodes of one name.
    #[error("two nodes are named `{0}`")]
    DuplicateName(String),
    /// Inputs missing, doubled or not counted from 0.
    #[error("`{node}` has inputs {inputs:?}, each from 0 on must be fed exactly once")]
    Inputs {
        /// The node.
        node: String,
        /// The inputs that are fed.
        inputs: Vec<usize>,
    },
    /// An operation that does not accept its inputs.
    #[error("`{node}`: {error}")]
    Type {
        /// The node.
        node: String,
        /// The input or type that it refuses.
        error: TypeError,
    },
    /// Stored output types that differ from the inferred ones.
    #[error("`{0}` claims other output types than its inputs give it")]
    StaleType(String),
    /// An edge between sections that must not be connected.
    #[error("`{reader}` ({reader_section:?}) reads `{source_node}` ({source_section:?})")]
    CrossSection {
        /// The reading node.
        reader: String,
        /// Its section.
        reader_section: Section,
        /// The node read.
        source_node: String,
        /// Its section.
        source_section: Section,
    },
    /// No or several `Carry` nodes, or one outside the layer.
    #[error("a graph has exactly one carry node, in its layer; found {0}")]
    Carry(usize),
    /// `carried` or the result is unset, gone, of the wrong section or of the wrong type.
    #[error("the graph's {0} is missing or does not fit")]
    Ends(&'static str),
    /// A weight named per layer outside the layer, or the reverse.
    #[error("`{node}` binds `{weight}`: {{layer}} belongs in the names of the layer section's weights and only there")]
    WeightName {
        /// The node.
        node: String,
        /// The weight.
        weight: String,
    },
    /// A value that nobody reads.
    #[error("output {output} of `{node}` is read by nobody")]
    Unused {
        /// The node.
        node: String,
        /// The output.
        output: usize,
    },
    /// A cycle.
    #[error("the {0:?} section has a cycle")]
    Cycle(Section),
    /// No layer, or no row.
    #[error("a graph needs at least one layer and one row")]
    Empty,
}

impl Operation {
    /// The weights of an operation, in order.
    pub fn weights(&self) -> Vec<&WeightRef> {
        match self {
            Operation::Embedding { weight } => vec![weight],
            Operation::RmsNorm { gamma, .. } => gamma.iter().collect(),
            Operation::Linear(linear) => linear.parts.iter().map(|p| &p.weight).collect(),
            Operation::Bias(offsets) => offsets.iter().map(|offset| &offset.weight).collect(),
            Operation::Tokens
            | Operation::Carry
            | Operation::Quantize { .. }
            | Operation::Dequantize { .. }
            | Operation::Scale { .. }
            | Operation::SplitHeads { .. }
            | Operation::Rope(_)
            | Operation::CacheUpdate { .. }
            | Operation::Attention { .. }
            | Operation::MergeHeads
            | Operation::Activation(_)
            | Operation::Mul { .. }
            | Operation::Add { .. }
            | Operation::LastToken
            | Operation::Argmax => Vec::new(),
        }
    }
}

impl Graph {
    /// Checks every invariant that the documentation of [`crate::graph`] lists.
    ///
    /// # Errors
    /// All broken invariants, in node order.
    pub fn check(&self) -> Result<(), Vec<GraphError>> {
        let mut errors = Vec::new();
        if self.layers == 0 || self.phase.rows() == 0 {
            errors.push(GraphError::Empty);
        }
        let mut names = HashSet::new();
        for node in self.nodes() {
            if !names.insert(self.node(node).name.as_str()) {
                errors.push(GraphError::DuplicateName(self.node(node).name.clone()));
            }
            self.check_node(node, &mut errors);
        }
        self.check_ends(&mut errors);
        for section in Section::ALL {
            if self.order(section).len() != self.nodes().filter(|&n| self.node(n).section == section).count() {
                errors.push(GraphError::Cycle(section));
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn check_node(&self, id: NodeId, errors: &mut Vec<GraphError>) {
        let node = self.node(id);
        let inputs = self.inputs(id);
        let mut fed: Vec<_> =
            inputs.iter().flat_map(|&v| self.users(v)).filter(|u| u.node == id).map(|u| u.input).collect();
        fed.sort_unstable();
        fed.dedup();
        if fed != (0..inputs.len()).collect::<Vec<_>>() {
            errors.push(GraphError::Inputs { node: node.name.clone(), inputs: fed });
        }
        let types: Vec<_> = inputs.iter().map(|&v| self.value_type(v)).collect();
        match node.op.infer(self.phase, &types) {
            Ok(outputs) if outputs == node.outputs => {}
            Ok(_) => errors.push(GraphError::StaleType(node.name.clone())),
            Err(error) => errors.push(GraphError::Type { node: node.name.clone(), error }),
        }
        for value in inputs {
            let source = self.node(value.node);
            let fits = match (node.section, source.section) {
                (Section::Layer, Section::Prologue) => matches!(node.op, Operation::Carry),
                (Section::Epilogue, Section::Layer) => self.carried() == Some(value),
                (reader, read) => reader == read,
            };
            if !fits {
                errors.push(GraphError::CrossSection {
                    reader: node.name.clone(),
                    reader_section: node.section,
                    source_node: source.name.clone(),
                    source_section: source.section,
                });
            }
        }
        for weight in node.op.weights() {
            if weight.name.contains("{layer}") != (node.section == Section::Layer) {
                errors.push(GraphError::WeightName { node: node.name.clone(), weight: weight.name.clone() });
            }
        }
        for (output, kind) in node.outputs.iter().enumerate() {
            let value = super::Value { node: id, output };
            let named = self.carried() == Some(value) || self.result() == Some(value);
            if !named && !matches!(kind.shape, Shape::Cache { .. }) && self.users(value).is_empty() {
                errors.push(GraphError::Unused { node: node.name.clone(), output });
            }
        }
    }

    fn check_ends(&self, errors: &mut Vec<GraphError>) {
        let carries: Vec<_> = self.nodes().filter(|&n| matches!(self.node(n).op, Operation::Carry)).collect();
        if carries.len() != 1 || self.node(carries[0]).section != Section::Layer {
            errors.push(GraphError::Carry(carries.len()));
        }
        let fits = |value: Option<super::Value>, section| {
            value
                .filter(|v| self.nodes.contains_node(v.node))
                .map(|v| self.node(v.node))
                .is_some_and(|n| n.section == section)
        };
        let carried = fits(self.carried(), Section::Layer)
            && carries
                .first()
                .zip(self.carried())
                .is_some_and(|(&c, v)| self.value_type(c.into()) == self.value_type(v));
        if !carried {
            errors.push(GraphError::Ends("carried value"));
        }
        if !fits(self.result(), Section::Epilogue) {
            errors.push(GraphError::Ends("result"));
        }
    }
}
