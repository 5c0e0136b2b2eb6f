//! Selection of the calls for norms, quantisation by row and dequantisation.

use bitnetc_plan::{DType, Padding, TILE};

use super::weights;
use super::{SelectError, Selector};
use crate::graph::{NodeId, Operation, Scalar, Section, Shape, WeightRef};
use crate::schedule::{Input, Kind};

impl Selector<'_> {
    pub(super) fn norm(
        &mut self,
        node: NodeId,
        section: Section,
        gamma: Option<(&WeightRef, &Scalar)>,
        eps: &Scalar,
    ) -> Result<(), SelectError> {
        let input = self.input(node, 0)?;
        let heads = match self.graph.value_type(self.value(node, 0)).shape {
            Shape::Heads { head_dim, .. } => Some(head_dim as u32),
            Shape::Ids | Shape::Features(_) | Shape::Cache { .. } => None,
        };
        let width = self.width(&input);
        // A norm of heads is a norm of one head, whose numbers lie in the order of the rotation.
        let one = heads.map(|from| Padding { groups: 1, from, to: width });
        let padding = one.or_else(|| self.input_padding(node, 0));
        let rotated = if heads.is_some() { self.rotated() } else { 0 };
        let per_layer = section == Section::Layer;
        let name = format!("{}.gamma", self.graph.node(node).name);
        let gamma = self
            .weight(weights::gamma(name, per_layer, gamma, (width, padding), rotated, |name| self.matrix_of(name)))?;
        let epsilon = weights::scalar(&eps.times(&Scalar::number(padding.map_or(1.0, Padding::share))));
        if heads.is_some() {
            let Input::Value(id) = input else {
                return Err(self.unsupported(node, "a norm of no value", "feed it heads"));
            };
            let shape = self.schedule.values[id].shape.clone();
            let out = self.schedule.value(self.graph.node(node).name.clone(), shape, DType::Bf16);
            self.call(node, section, Kind::HeadNorm { epsilon }, vec![input, gamma], vec![out]);
            return Ok(());
        }
        let out = self.features(node, DType::Bf16)?;
        self.call(node, section, Kind::RmsNorm { epsilon }, vec![input, gamma], vec![out]);
        Ok(())
    }

    pub(super) fn quantize(&mut self, node: NodeId, section: Section, floor: &Scalar) -> Result<(), SelectError> {
        let input = self.input(node, 0)?;
        let integers = self.features(node, DType::Bf16)?;
        let name = format!("{}.max", self.graph.node(node).name);
        let shape = vec![1, 1, self.schedule.values[integers].shape[2], 1];
        let maxima = self.schedule.value(name, shape, DType::F32);
        let kind = Kind::Quantize { floor: weights::scalar(floor), own_kernels: self.runs_own_kernels() };
        self.call(node, section, kind, vec![input], vec![integers, maxima]);
        Ok(())
    }

    pub(super) fn dequantize(
        &mut self,
        node: NodeId,
        section: Section,
        scale: &Scalar,
        power: i32,
    ) -> Result<(), SelectError> {
        let Some(power) = u32::try_from(power).ok().filter(|power| *power > 0) else {
            return Err(self.unsupported(node, format!("the row factor to the power {power}"), "a power above 0"));
        };
        // An addition by kernels of bitnetc's own dequantises what it adds.
        if self.dequantised_by_its_addition(node).is_some() {
            return Ok(());
        }
        let Operation::Quantize { floor } = self.graph.node(self.value(node, 1).node).op.clone() else {
            return Err(self.unsupported(
                node,
                "a row factor that no quantisation made",
                "feed it from a quantisation",
            ));
        };
        let inputs = vec![self.input(node, 0)?, self.input(node, 1)?];
        let out = self.features(node, DType::Bf16)?;
        self.call(
            node,
            section,
            Kind::Dequantize { scale: weights::scalar(scale), floor: weights::scalar(&floor), power },
            inputs,
            vec![out],
        );
        Ok(())
    }

    /// Whether kernels of bitnetc's own come into question: they compute one tile of rows.
    fn runs_own_kernels(&self) -> bool {
        self.setting.own_kernels && self.rows() <= TILE
    }

    /// The addition that dequantises what it adds, by kernels of bitnetc's own: where nothing else reads a dequantisation than an addition to
    /// the residual stream. The dequantisation then has no call of its own.
    pub(super) fn dequantised_by_its_addition(&self, node: NodeId) -> Option<Kind> {
        let Operation::Dequantize { scale, power: 1 } = &self.graph.node(node).op else { return None };
        let Operation::Quantize { floor } = &self.graph.node(self.value(node, 1).node).op else { return None };
        let user = self.graph.only_user(node.into()).filter(|user| user.input == 1 && self.runs_own_kernels())?;
        let Operation::Add { b_scale } = &self.graph.node(user.node).op else { return None };
        let (scale, floor) = (weights::scalar(&scale.times(b_scale)), weights::scalar(floor));
        Some(Kind::AddDequantized { scale, floor })
    }
}
