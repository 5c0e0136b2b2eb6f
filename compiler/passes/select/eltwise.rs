//! Selection of the calls for products and residual additions.

use bitnetc_plan::Unary;

use super::weights::scalar;
use super::{SelectError, Selector};
use crate::graph::{Activation, MulInput, NodeId, Section};
use crate::passes::values::factors_dtype;
use crate::schedule::{Input, Kind};

impl Selector<'_> {
    pub(super) fn multiply(
        &mut self,
        node: NodeId,
        section: Section,
        a: &MulInput,
        b: &MulInput,
    ) -> Result<(), SelectError> {
        if let Some(found) = self.gated(node) {
            return self.gated_call(node, section, found);
        }
        let inputs = vec![self.input(node, 0)?, self.input(node, 1)?];
        self.check_alike(node)?;
        let out = self.features(node, factors_dtype(self.graph, node))?;
        let kind = Kind::Multiply { a: activations(a), b: activations(b) };
        self.call(node, section, kind, inputs, vec![out]);
        Ok(())
    }

    pub(super) fn scale(
        &mut self,
        node: NodeId,
        section: Section,
        scale: &crate::graph::Scalar,
    ) -> Result<(), SelectError> {
        let Input::Value(input) = self.input(node, 0)? else {
            return Err(self.unsupported(
                node,
                "a multiplication of no value",
                "feed it from an operation that makes one",
            ));
        };
        let shape = self.schedule.values[input].shape.clone();
        let dtype = self.schedule.values[input].dtype;
        let out = self.schedule.value(self.graph.node(node).name.clone(), shape, dtype);
        let kind = Kind::Scale { scale: scalar(scale) };
        self.call(node, section, kind, vec![Input::Value(input)], vec![out]);
        Ok(())
    }

    pub(super) fn add(
        &mut self,
        node: NodeId,
        section: Section,
        b_scale: &crate::graph::Scalar,
    ) -> Result<(), SelectError> {
        let added = self.value(node, 1).node;
        let (kind, inputs) = match self.dequantised_by_its_addition(added) {
            Some(kind) => (kind, vec![self.input(node, 0)?, self.input(added, 0)?, self.input(added, 1)?]),
            None => (Kind::AddInto { scale: scalar(b_scale) }, vec![self.input(node, 0)?, self.input(node, 1)?]),
        };
        let Input::Value(stream) = inputs[0] else {
            return Err(self.unsupported(node, "an addition to no value", "add to the residual stream"));
        };
        if self.schedule.stream != Some(stream) {
            return Err(self.unsupported(
                node,
                "an addition to something else than the residual stream",
                "make the stream the first operand",
            ));
        }
        self.check_alike(node)?;
        self.call(node, section, kind, inputs, vec![]);
        // The addition writes over the stream, so the sum is the stream's value.
        self.ids.insert(node.into(), stream);
        Ok(())
    }
}

/// The elementwise functions that TT-NN applies to one input of a product.
fn activations(operand: &MulInput) -> Vec<Unary> {
    let mut chain = Vec::new();
    if !operand.scale.is_one() {
        chain.push(Unary::MulScalar(scalar(&operand.scale)));
    }
    for unary in &operand.unary {
        match unary {
            Activation::Relu => chain.push(Unary::Relu),
            Activation::Relu2 => chain.extend([Unary::Relu, Unary::Square]),
            Activation::Square => chain.push(Unary::Square),
            Activation::Silu => chain.push(Unary::Silu),
        }
    }
    chain
}
