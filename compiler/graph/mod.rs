//! The logical graph of one phase: operations and values, without any notion of a device.
//!
//! A [`Graph`] is a directed acyclic graph in three sections: the prologue runs once, the layer is one instance of the decoder layer and
//! runs `layers` times, and the epilogue runs once. One value, the residual stream, is carried around the layer loop. Inside the layer it
//! is the output of the only [`Operation::Carry`] node. At the end of the layer it is [`Graph::carried`], which the epilogue reads after
//! the last layer.
//!
//! Invariants, checked by [`Graph::check`]:
//! - names are unique; every input of a node is fed by exactly one edge; types are those [`Operation::infer`] gives;
//! - the prologue reads the prologue; the layer reads the layer, except that `Carry` reads the prologue; the epilogue reads the
//!   epilogue and `carried`;
//! - `{layer}` occurs in the weight names of the layer and of nothing else;
//! - every output is read by someone, or is `carried`, the result, or a cache.

mod check;
mod decoder;
mod display;
pub mod eval;
mod function;
mod infer;
mod op;
mod rope;
mod scalar;

pub use check::GraphError;
pub use decoder::{Misfit, Place};
pub use function::function;
pub use infer::TypeError;
pub use op::{
    Activation, ActivationQuant, Encoding, Heads, Linear, MulInput, Offset, Operation, Part, Role, Rope, RopeScaling,
    ScaleConvention, Shape, ValueType, WeightRef,
};
pub use scalar::{Factor, Scalar, resolve};

pub use bitnetc_plan::{PhaseKind, Section};

use petgraph::Direction;
use petgraph::stable_graph::{NodeIndex, StableDiGraph};
use petgraph::visit::EdgeRef;

/// Identifies a node for as long as it is in the graph; removing others does not change it.
pub type NodeId = NodeIndex<u32>;

/// An operation in the graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// A unique name for people, such as `attn.qkv`.
    pub name: String,
    /// The section in which it runs.
    pub section: Section,
    /// Its role in the model.
    pub role: Role,
    /// Its operation.
    pub op: Operation,
    /// Types of its outputs.
    pub outputs: Vec<ValueType>,
}

/// An edge: which output of the source feeds which input of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// Output of the source, counted from 0.
    pub output: usize,
    /// Input of the target, counted from 0.
    pub input: usize,
}

/// A value: one output of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value {
    /// The node that makes it.
    pub node: NodeId,
    /// The output of the node, counted from 0.
    pub output: usize,
}

impl From<NodeId> for Value {
    /// The first output of a node.
    fn from(node: NodeId) -> Self {
        Value { node, output: 0 }
    }
}

/// A reader of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Use {
    /// The node that reads it.
    pub node: NodeId,
    /// The input as which it is read, counted from 0.
    pub input: usize,
}

/// The logical graph of one phase of one model.
#[derive(Debug, Clone)]
pub struct Graph {
    /// The model's name.
    pub model: String,
    /// The phase whose computation this is.
    pub phase: PhaseKind,
    /// How often the layer section runs; at least 1.
    pub layers: usize,
    /// Positions the KV caches hold.
    pub context: usize,
    nodes: StableDiGraph<Node, Edge>,
    carried: Option<Value>,
    result: Option<Value>,
    /// Names of the model's operations that this phase leaves out.
    reserved: Vec<String>,
}

impl Graph {
    /// A graph without nodes.
    pub fn new(model: impl Into<String>, phase: PhaseKind, layers: usize, context: usize) -> Self {
        let (nodes, carried, result, reserved) = (StableDiGraph::new(), None, None, Vec::new());
        Graph { model: model.into(), phase, layers, context, nodes, carried, result, reserved }
    }

    /// Adds a node fed by `inputs`; its output types follow from them.
    ///
    /// # Errors
    /// When the operation does not accept inputs of these types.
    pub fn add(
        &mut self,
        name: &str,
        section: Section,
        role: Role,
        op: Operation,
        inputs: &[Value],
    ) -> Result<NodeId, TypeError> {
        let types: Vec<_> = inputs.iter().map(|&v| self.value_type(v)).collect();
        let outputs = op.infer(self.phase, &types)?;
        let node = self.nodes.add_node(Node { name: name.to_string(), section, role, op, outputs });
        for (input, value) in inputs.iter().enumerate() {
            self.nodes.add_edge(value.node, node, Edge { output: value.output, input });
        }
        Ok(node)
    }

    /// A node by its identity.
    ///
    /// # Panics
    /// When the node was removed; identities come from the graph, so that is a defect of the caller.
    pub fn node(&self, node: NodeId) -> &Node {
        &self.nodes[node]
    }

    /// A node, so that its operation can be changed. A change of the types that [`Operation::infer`] gives makes [`Graph::check`] fail.
    ///
    /// # Panics
    /// When the node was removed.
    pub fn node_mut(&mut self, node: NodeId) -> &mut Node {
        &mut self.nodes[node]
    }

    /// Type of a value.
    ///
    /// # Panics
    /// When the node was removed or has no such output.
    pub fn value_type(&self, value: Value) -> ValueType {
        self.nodes[value.node].outputs[value.output]
    }

    /// The residual stream at the end of a layer, once set.
    pub fn carried(&self) -> Option<Value> {
        self.carried
    }

    /// Sets the residual stream at the end of a layer.
    pub fn set_carried(&mut self, value: Value) {
        self.carried = Some(value);
    }

    /// The result of the phase, the next token ids, once it is set.
    pub fn result(&self) -> Option<Value> {
        self.result
    }

    /// Sets the result of the phase.
    pub fn set_result(&mut self, value: Value) {
        self.result = Some(value);
    }

    /// All nodes, by identity.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.node_indices()
    }

    /// The node of this name.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.nodes.node_indices().find(|&n| self.nodes[n].name == name)
    }

    /// Reserves a name because a node of another phase has it, so that no pass gives it to a new node of this graph.
    pub fn reserve(&mut self, name: &str) {
        self.reserved.push(name.to_string());
    }

    /// `wanted`, or the next name after it that no node of any phase has.
    pub fn fresh_name(&self, wanted: &str) -> String {
        let mut name = wanted.to_string();
        while self.find(&name).is_some() || self.reserved.contains(&name) {
            name.push('_');
        }
        name
    }

    /// The values that feed the inputs of a node, in input order.
    pub fn inputs(&self, node: NodeId) -> Vec<Value> {
        let mut edges: Vec<_> = self
            .nodes
            .edges_directed(node, Direction::Incoming)
            .map(|e| (e.weight().input, Value { node: e.source(), output: e.weight().output }))
            .collect();
        edges.sort_unstable();
        edges.into_iter().map(|(_, value)| value).collect()
    }

    /// The readers of a value, ordered by node identity and input. The loop's back edge and the phase's result do not count as readers.
    pub fn users(&self, value: Value) -> Vec<Use> {
        let edges = self.nodes.edges_directed(value.node, Direction::Outgoing);
        let mut users: Vec<_> = edges
            .filter(|e| e.weight().output == value.output)
            .map(|e| Use { node: e.target(), input: e.weight().input })
            .collect();
        users.sort_unstable();
        users
    }

    /// The only reader of a value, if it has exactly one and is neither carried nor the result.
    pub fn only_user(&self, value: Value) -> Option<Use> {
        if self.carried == Some(value) || self.result == Some(value) {
            return None;
        }
        match self.users(value).as_slice() {
            [only] => Some(*only),
            _ => None,
        }
    }

    /// The nodes of a section in an order in which each follows the nodes it reads. Among nodes that are ready the one with the smallest
    /// identity comes first, so an imported graph keeps the order of the model's text.
    pub fn order(&self, section: Section) -> Vec<NodeId> {
        self.order_after(section, &[])
    }

    /// [`Graph::order`] in which the first node of each pair also precedes the second, though no value goes from the one to the other.
    fn order_after(&self, section: Section, pairs: &[(NodeId, NodeId)]) -> Vec<NodeId> {
        let members: Vec<_> = self.nodes.node_indices().filter(|&n| self.nodes[n].section == section).collect();
        let mut waiting = std::collections::BTreeMap::new();
        let mut ready = std::collections::BTreeSet::new();
        for &node in &members {
            let count = self
                .nodes
                .edges_directed(node, Direction::Incoming)
                .filter(|e| self.nodes[e.source()].section == section)
                .count()
                + pairs.iter().filter(|(_, second)| *second == node).count();
            waiting.insert(node, count);
            if count == 0 {
                ready.insert(node);
            }
        }
        let mut order = Vec::with_capacity(members.len());
        while let Some(node) = ready.pop_first() {
            order.push(node);
            let edges = self.nodes.edges_directed(node, Direction::Outgoing).map(|e| e.target());
            for next in edges.chain(pairs.iter().filter(|(first, _)| *first == node).map(|(_, second)| *second)) {
                if let Some(count) = waiting.get_mut(&next) {
                    *count -= 1;
                    if *count == 0 {
                        ready.insert(next);
                    }
                }
            }
        }
        order
    }

    /// The last node of `order` that reads `value`, or none when nobody in it does.
    pub fn last_use(&self, value: Value, order: &[NodeId]) -> Option<NodeId> {
        let users = self.users(value);
        order.iter().rev().copied().find(|n| users.iter().any(|u| u.node == *n))
    }

    /// Feeds an input of a node from another value, instead of the one that feeds it.
    pub fn redirect(&mut self, user: Use, to: Value) {
        let old: Vec<_> = self
            .nodes
            .edges_directed(user.node, Direction::Incoming)
            .filter(|e| e.weight().input == user.input)
            .map(|e| e.id())
            .collect();
        for edge in old {
            self.nodes.remove_edge(edge);
        }
        self.nodes.add_edge(to.node, user.node, Edge { output: to.output, input: user.input });
    }

    /// Lets every reader of `from` read `to` instead, the loop's back edge and the result included.
    pub fn replace(&mut self, from: Value, to: Value) {
        for user in self.users(from) {
            if user.node != to.node {
                self.redirect(user, to);
            }
        }
        for named in [&mut self.carried, &mut self.result] {
            if *named == Some(from) {
                *named = Some(to);
            }
        }
    }

    /// Removes a node that nobody reads. If readers are left behind, [`Graph::check`] fails.
    pub fn remove(&mut self, node: NodeId) -> Option<Node> {
        self.nodes.remove_node(node)
    }
}

#[cfg(test)]
mod tests;
