//! The conditions under which a sound graph is a decoder that can be scheduled.
//!
//! The evaluator accepts any sound graph. A plan keeps the residual stream in one tensor that additions write in place, applies functions
//! to the inputs of products, and has one call for each part of attention. This requires:
//!
//! - The residual stream starts as `Carry`. Each `Add` is in the layer and adds something to the stream as the last `Add` left it. The last
//!   sum is the end of the layer. No node that depends on a sum reads the stream from before it.
//! - A head split reads three projections, with or without bias, which have no other reader. Rotary embeddings turn the same elements.
//! - An activation function is read by one product, directly or through other such functions, and is not applied to the residual stream.
//! - Each role belongs to one projection, except for the three projections of the head split.
//! - The LM head reads the last token, `Argmax` reads the LM head, and there are as many logits as the embedding has rows.
//!
//! The uses of queries, keys and values are restricted by their types, see [`super::Heads`].

use super::{Graph, NodeId, Operation, Role, Section, TypeError, Value};
use petgraph::algo::has_path_connecting;

/// A property of a graph for which there is no plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// The place in the graph.
    pub place: Place,
    /// The mistake, and the form that would be accepted.
    pub error: TypeError,
}

/// The place at which a graph is not a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At an operation, or the input of it that the error names.
    Node(NodeId),
    /// At the end of the layer.
    LayerEnd,
}

impl Graph {
    /// The residual stream in a layer: the carry, then every sum with it, in order.
    pub fn stream(&self) -> Vec<Value> {
        let carry = self.nodes().find(|&n| matches!(self.node(n).op, Operation::Carry));
        let mut stream: Vec<Value> = carry.map(Value::from).into_iter().collect();
        while let Some(&last) = stream.last() {
            let sums = self.users(last).into_iter().map(|u| u.node);
            let mut sums = sums.filter(|&n| matches!(self.node(n).op, Operation::Add { .. }));
            match sums.find(|&n| self.node(n).section == Section::Layer && !stream.contains(&n.into())) {
                Some(sum) => stream.push(sum.into()),
                None => break,
            }
        }
        stream
    }

    /// [`Graph::order`] with every reader of the residual stream before the sum that overwrites it.
    ///
    /// # Errors
    /// A node for which there is no such place.
    pub fn order_in_place(&self, section: Section) -> Result<Vec<NodeId>, NodeId> {
        let mut before = Vec::new();
        for (old, sum) in self.overwritten() {
            let readers = self.users(old).into_iter().map(|u| u.node);
            let inside = readers.filter(|&n| n != sum && self.node(n).section == self.node(sum).section);
            before.extend(inside.map(|reader| (reader, sum)));
        }
        let order = self.order_after(section, &before);
        let left = self.nodes().find(|&n| self.node(n).section == section && !order.contains(&n));
        left.map_or(Ok(order), Err)
    }

    /// Every value of the residual stream but the last, with the sum that overwrites it.
    fn overwritten(&self) -> Vec<(Value, NodeId)> {
        let stream = self.stream();
        stream.windows(2).map(|pair| (pair[0], pair[1].node)).collect()
    }

    /// Lists everything that keeps a sound graph from being a decoder that can be scheduled, in node order.
    pub fn misfits(&self) -> Vec<Misfit> {
        let mut misfits = Vec::new();
        self.check_stream(&mut misfits);
        self.check_roles(&mut misfits);
        for node in self.nodes() {
            let error = match &self.node(node).op {
                Operation::SplitHeads { .. } => self.check_split(node),
                Operation::Rope(rope) => self.check_rope(rope.dim),
                Operation::Activation(_) => self.check_function(node),
                Operation::Argmax => self.check_logits(node),
                Operation::Tokens
                | Operation::Embedding { .. }
                | Operation::Carry
                | Operation::RmsNorm { .. }
                | Operation::Quantize { .. }
                | Operation::Dequantize { .. }
                | Operation::Scale { .. }
                | Operation::Linear(_)
                | Operation::Bias(_)
                | Operation::CacheUpdate { .. }
                | Operation::Attention { .. }
                | Operation::MergeHeads
                | Operation::Mul { .. }
                | Operation::Add { .. }
                | Operation::LastToken => None,
            };
            misfits.extend(error.map(|error| Misfit { place: Place::Node(node), error }));
        }
        misfits
    }

    fn check_stream(&self, misfits: &mut Vec<Misfit>) {
        let stream = self.stream();
        let before = misfits.len();
        let last = |at: usize| stream.get(at).map(|v| self.value_name(*v)).unwrap_or_default();
        for node in self.nodes().filter(|&n| matches!(self.node(n).op, Operation::Add { .. })) {
            let inputs = self.inputs(node);
            let names = || inputs.iter().map(|v| self.value_name(*v)).collect::<Vec<_>>().join(" and ");
            let at = stream.iter().position(|v| v.node == node);
            let error = match at.and_then(|at| at.checked_sub(1)) {
                None if self.node(node).section != Section::Layer => {
                    ("an addition outside the layer", names(), "sums in the repeated block only".to_string())
                }
                None => {
                    let expected = format!(
                        "the residual stream, here `{}`, and what is added to it",
                        self.reaching(node, &stream)
                    );
                    ("an addition to something else than the residual stream", names(), expected)
                }
                Some(at) if inputs.iter().filter(|v| stream.contains(v)).count() > 1 => {
                    ("the residual stream added to itself", names(), format!("`{}` and something else", last(at)))
                }
                Some(_) => continue,
            };
            let error = TypeError::new(None, error.0, error.1, error.2);
            misfits.push(Misfit { place: Place::Node(node), error });
        }
        for (old, sum) in self.overwritten() {
            for user in self.users(old).into_iter().filter(|u| u.node != sum) {
                let is_sum = matches!(self.node(user.node).op, Operation::Add { .. });
                if !is_sum && has_path_connecting(&self.nodes, sum, user.node, None) {
                    let what = "the residual stream is read after it was added to";
                    let found =
                        format!("`{}`, which `{}` was added into", self.value_name(old), self.value_name(sum.into()));
                    let expected = format!("`{}`, or what does not need it", self.value_name(sum.into()));
                    let error = TypeError::new(Some(user.input), what, found, expected);
                    misfits.push(Misfit { place: Place::Node(user.node), error });
                }
            }
        }
        if misfits.len() == before && self.carried() != stream.last().copied() {
            let found = self.carried().map(|v| self.value_name(v)).unwrap_or_default();
            let expected = format!("the residual stream, `{}`", last(stream.len().saturating_sub(1)));
            let error =
                TypeError::new(None, "a layer ends in something else than the residual stream", found, expected);
            misfits.push(Misfit { place: Place::LayerEnd, error });
        }
    }

    /// The name of the last value of the stream to which this sum could have added: the last value that does not depend on the sum.
    fn reaching(&self, sum: NodeId, stream: &[Value]) -> String {
        let could = stream.iter().rev().find(|v| !has_path_connecting(&self.nodes, sum, v.node, None));
        could.map(|v| self.value_name(*v)).unwrap_or_default()
    }

    fn check_roles(&self, misfits: &mut Vec<Misfit>) {
        for role in [Role::O, Role::Gate, Role::Up, Role::Down, Role::LmHead] {
            let mut of_role = self.nodes().filter(|&n| self.projection(n) && self.node(n).role == role);
            let first = of_role.next();
            for node in of_role {
                let found = format!("a second {role:?}, after `{}`", self.node(first.unwrap_or(node)).name);
                let error = TypeError::new(None, "a role is one projection's", found, "a role of its own");
                misfits.push(Misfit { place: Place::Node(node), error });
            }
        }
        for node in self.nodes().filter(|&n| self.projection(n)) {
            let split = self.only_user(self.biased(node.into())).map(|u| &self.node(u.node).op);
            let error = match self.node(node).role {
                Role::Qkv if !matches!(split, Some(Operation::SplitHeads { .. })) => TypeError::new(
                    None,
                    "a Qkv projection",
                    "read by something else",
                    "one that SplitHeads alone reads",
                ),
                Role::LmHead if self.node(node).section != Section::Epilogue => TypeError::new(
                    None,
                    "an operation out of place",
                    "the LM head here",
                    "the LM head in the last block",
                ),
                Role::LmHead if !self.after_last_token(node) => TypeError::new(
                    Some(0),
                    "the LM head reads one token",
                    "all tokens",
                    "what LastToken gives, or made of it",
                ),
                Role::LmHead => continue,
                role if self.node(node).section != Section::Layer => TypeError::new(
                    None,
                    "an operation out of place",
                    format!("a projection {role:?} here"),
                    "in the repeated block",
                ),
                Role::Embedding
                | Role::Norm
                | Role::Qkv
                | Role::Rope
                | Role::Cache
                | Role::Sdpa
                | Role::O
                | Role::Gate
                | Role::Up
                | Role::Down
                | Role::Product
                | Role::Residual
                | Role::Bias
                | Role::Quant
                | Role::Data => continue,
            };
            misfits.push(Misfit { place: Place::Node(node), error });
        }
    }

    fn projection(&self, node: NodeId) -> bool {
        matches!(self.node(node).op, Operation::Linear(_))
    }

    /// A projection's result with its bias, where one is added to it and nothing else reads it.
    fn biased(&self, value: Value) -> Value {
        let bias = self.only_user(value).filter(|user| matches!(self.node(user.node).op, Operation::Bias(_)));
        bias.map_or(value, |user| user.node.into())
    }

    /// The node that makes a value, before a bias that nothing else is read by.
    fn before_bias(&self, value: Value) -> NodeId {
        let input = self.inputs(value.node).first().copied();
        input.filter(|input| self.biased(*input) == value).map_or(value.node, |input| input.node)
    }

    fn after_last_token(&self, node: NodeId) -> bool {
        let last = self.nodes().find(|&n| matches!(self.node(n).op, Operation::LastToken));
        last.is_some_and(|last| has_path_connecting(&self.nodes, last, node, None))
    }

    fn check_split(&self, node: NodeId) -> Option<TypeError> {
        for (at, value) in self.inputs(node).iter().enumerate() {
            let projection = self.before_bias(*value);
            if !self.projection(projection) {
                let (what, found) = ("heads are split off projections", self.value_name(*value));
                return Some(TypeError::new(Some(at), what, found, "a projection with role Qkv"));
            }
            if self.only_user(*value).is_none() || self.node(projection).role != Role::Qkv {
                let found = format!("`{}`", self.value_name(*value));
                let expected = "a projection with role Qkv that nobody else reads";
                return Some(TypeError::new(Some(at), "heads are split off projections of their own", found, expected));
            }
        }
        None
    }

    /// The rows of projections are reordered once for all rotations.
    fn check_rope(&self, dim: usize) -> Option<TypeError> {
        let of = |node| if let Operation::Rope(rope) = &self.node(node).op { Some(rope.dim) } else { None };
        let first = self.nodes().find_map(of)?;
        let what = "rotary embeddings turn the same elements of a head";
        (dim != first).then(|| TypeError::new(None, what, format!("dim {dim}"), format!("{first}, as the first")))
    }

    fn check_function(&self, node: NodeId) -> Option<TypeError> {
        let what = "a function that is no operand of a product";
        let input = *self.inputs(node).first()?;
        if self.stream().contains(&input) {
            let found = format!("a function of the residual stream `{}`", self.value_name(input));
            return Some(TypeError::new(Some(0), what, found, "a function of a projection's or a norm's result"));
        }
        let fits = self
            .only_user(node.into())
            .is_some_and(|u| matches!(self.node(u.node).op, Operation::Mul { .. } | Operation::Activation(_)));
        let found = format!("`{}`", self.value_name(node.into()));
        (!fits).then(|| TypeError::new(None, what, found, "one Mul that reads it, and nothing else"))
    }

    fn check_logits(&self, node: NodeId) -> Option<TypeError> {
        let logits = *self.inputs(node).first()?;
        if self.node(logits.node).role != Role::LmHead || self.only_user(logits).is_none() {
            let found = format!("`{}`", self.value_name(logits));
            return Some(TypeError::new(
                Some(0),
                "Argmax reads logits",
                found,
                "the LM head's result, which nobody else reads",
            ));
        }
        let super::Shape::Features(width) = self.value_type(logits).shape else { return None };
        let vocab = self.nodes().find_map(|n| {
            let Operation::Embedding { weight } = &self.node(n).op else { return None };
            weight.shape.first().copied()
        })?;
        let what = "logits and embedding differ in vocabulary";
        (width != vocab).then(|| {
            TypeError::new(Some(0), what, format!("{width} logits"), format!("{vocab}, the rows of the embedding"))
        })
    }
}
