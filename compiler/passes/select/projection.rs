//! Selection of the calls for projections and the LM head.

use bitnetc_plan::program::FusedActivation;
use bitnetc_plan::{DType, Layout, TILE, Weight};

use super::weights::{self, SplitColumns};
use super::{SelectError, Selector};
use crate::graph::{Activation, Linear, MulInput, NodeId, Offset, Operation, Role, Section, WeightRef};
use crate::passes::pad::split_after;
use crate::passes::values::product_dtype;
use crate::policy::Precision;
use crate::schedule::{Input, Kind};
use crate::ttnn::lm_head;

/// Gate and up of a product in one program with it.
pub(super) struct Gated {
    gate: NodeId,
    up: NodeId,
    precision: Precision,
}

impl Selector<'_> {
    pub(super) fn linear(&mut self, node: NodeId, section: Section, linear: &Linear) -> Result<(), SelectError> {
        let input = self.input(node, 0)?;
        let Some(decision) = self.setting.precision.get(&node) else {
            return Err(self.unsupported(node, "a projection without a precision", "run the precision pass first"));
        };
        if let Some(part) = linear.parts.iter().find(|p| !p.scale.is_one()) {
            let what = format!("the scale {} of {} is applied to the product alone", part.scale, part.weight.name);
            return Err(self.unsupported(
                node,
                what,
                "no call takes its scale: a function fused into the projection is in the way",
            ));
        }
        let precision = decision.used;
        if self.graph.node(node).role == Role::LmHead {
            return self.lm_head(node, section, linear, precision, input);
        }
        let activation = match linear.unary {
            None => None,
            Some(Activation::Relu) => Some(FusedActivation::Relu),
            Some(Activation::Silu) => Some(FusedActivation::Silu),
            Some(other) => {
                return Err(self.unsupported(
                    node,
                    format!("{other:?} fused into a matmul"),
                    "TT-NN fuses RELU and SILU; SQUARE is rejected",
                ));
            }
        };
        if self.gated_user(node).is_some() {
            return Ok(());
        }
        let two_bits = precision.weight == DType::Bfp2;
        if two_bits && !linear.is_ternary() {
            return Err(self.unsupported(node, "weights that are not ternary in two bits", "bf16, bfp8 or bfp4"));
        }
        if two_bits && activation == Some(FusedActivation::Silu) {
            return Err(self.unsupported(node, "silu fused into a product by two-bit weights", "bfp4"));
        }
        let out = self.features(node, product_dtype(decision.activation))?;
        let columns = self.schedule.values[out].shape[3];
        // Two bits hold a ternary weight as well as four do, for functions that the kernels know.
        let beside = !two_bits && self.in_two_bits(linear, precision) && activation != Some(FusedActivation::Silu);
        let stored = |dtype| self.stored(node, section, linear, dtype, [self.width(&input), columns]);
        let two_bits = beside.then(|| Box::new(stored(DType::Bfp2)));
        let weight = stored(precision.weight);
        let weight = self.weight(weight)?;
        let kind = Kind::Matmul { activation, precision, two_bits };
        self.call(node, section, kind, vec![input, weight], vec![out]);
        Ok(())
    }

    /// Whether kernels of bitnetc's own may read a projection's weight in two bits.
    fn in_two_bits(&self, linear: &Linear, precision: Precision) -> bool {
        let asked = precision.weight == DType::Bfp2;
        let allowed = self.setting.own_kernels && precision.weight == DType::Bfp4;
        self.rows() <= TILE && linear.is_ternary() && (asked || allowed)
    }

    /// A projection's weight of so many rows and columns, padding included, in a data type.
    fn stored(&self, node: NodeId, section: Section, linear: &Linear, dtype: DType, sides: [u32; 2]) -> Weight {
        let paddings = [self.input_padding(node, 0), self.paddings.get(node.into())];
        let name = self.weight_name(node);
        // Prefill reads the same weight in another data type.
        let name = &if dtype == DType::Bfp2 { format!("{name}.bfp2") } else { name };
        let (per_layer, banks) = (section == Section::Layer, self.setting.card.dram.banks);
        let storage = weights::Storage { name, per_layer, dtype, banks };
        weights::projection(storage, linear, self.heads_after(node), sides, paddings)
    }

    /// The product of gate and up that takes a projection into its own program.
    fn gated_user(&self, node: NodeId) -> Option<NodeId> {
        let user = self.graph.only_user(node.into())?.node;
        self.gated(user).map(|_| user)
    }

    /// Gate and up of a product that is computed in one program with them: both by weights in two bits, of the same activations.
    pub(super) fn gated(&self, product: NodeId) -> Option<Gated> {
        let Operation::Mul { a, b } = &self.graph.node(product).op else { return None };
        let square = a.scale.is_one() && a.unary == [Activation::Square] && *b == MulInput::PLAIN;
        let [gate, up] = self.graph.inputs(product)[..] else { return None };
        let alone = |value| self.graph.only_user(value).is_some();
        if !self.setting.gated || !square || !alone(gate) || !alone(up) || gate.node == up.node {
            return None;
        }
        let precision = |node: NodeId, function: Option<Activation>| {
            let Operation::Linear(linear) = &self.graph.node(node).op else { return None };
            let decision = self.setting.precision.get(&node)?;
            let plain = linear.unary == function && linear.parts.iter().all(|part| part.scale.is_one());
            let bf16 = product_dtype(decision.activation) == DType::Bf16 && !decision.used.fp32_dest_acc;
            (plain && bf16 && self.in_two_bits(linear, decision.used)).then_some(decision.used)
        };
        let used = precision(gate.node, Some(Activation::Relu))?;
        let alike = self.graph.inputs(gate.node) == self.graph.inputs(up.node)
            && self.paddings.get(gate) == self.paddings.get(up)
            && precision(up.node, None)? == used;
        alike.then_some(Gated { gate: gate.node, up: up.node, precision: used })
    }

    /// The call of gate, up and their product.
    pub(super) fn gated_call(&mut self, product: NodeId, section: Section, found: Gated) -> Result<(), SelectError> {
        let Gated { gate, up, precision } = found;
        let input = self.input(gate, 0)?;
        let out = self.features(product, DType::Bf16)?;
        let sides = [self.width(&input), self.schedule.values[out].shape[3]];
        let weight = |node: NodeId| {
            let Operation::Linear(linear) = &self.graph.node(node).op else {
                return Err(self.unsupported(node, "gate or up that is no projection", "two projections"));
            };
            Ok(Box::new(self.stored(node, section, linear, DType::Bfp2, sides)))
        };
        let (gate, up) = (weight(gate)?, weight(up)?);
        self.call(product, section, Kind::Gated { precision, gate, up }, vec![input], vec![out]);
        Ok(())
    }

    fn lm_head(
        &mut self,
        node: NodeId,
        section: Section,
        linear: &Linear,
        precision: Precision,
        input: Input,
    ) -> Result<(), SelectError> {
        let [part] = linear.parts.as_slice() else {
            return Err(self.unsupported(node, "an LM head of several matrices", "one matrix [vocab, hidden]"));
        };
        let mut matrix = weights::matrix(&part.weight);
        matrix.inputs = self.input_padding(node, 0);
        let rows = if self.decode() { self.rows() } else { TILE };
        let shape = vec![1, 1, rows, part.weight.shape[0] as u32];
        let out = self.schedule.value(self.graph.node(node).name.clone(), shape, lm_head::dtype(precision));
        // What the next token is picked of: argmax reads rows, and the search for the likeliest reads tiles.
        self.schedule.values[out].layout = if self.draws() { Layout::Tile } else { Layout::RowMajor };
        self.schedule.results.push(out);
        let kind = Kind::LmHead { matrix, precision, chunks: self.setting.lm_head_chunks.clone() };
        self.call(node, section, kind, vec![input], vec![out]);
        Ok(())
    }

    pub(super) fn bias(&mut self, node: NodeId, section: Section, offsets: &[Offset]) -> Result<(), SelectError> {
        let input = self.input(node, 0)?;
        let out = self.features(node, DType::Bf16)?;
        let name = format!("{}.bias", self.graph.node(node).name);
        let (columns, padding) = (self.width(&input), self.paddings.get(node.into()));
        let per_layer = section == Section::Layer;
        let weight = weights::bias(name, per_layer, offsets, self.heads_after(node), (columns, padding), |name| {
            self.matrix_of(name)
        });
        let vector = self.weight(weight)?;
        self.call(node, section, Kind::Bias, vec![input, vector], vec![out]);
        Ok(())
    }

    /// The weight of a name.
    pub(super) fn matrix_of(&self, name: &str) -> Option<&WeightRef> {
        self.graph.nodes().flat_map(|n| self.graph.node(n).op.weights()).find(|weight| weight.name == name)
    }

    /// The heads into which a projection's or a bias's columns are split, if they are.
    fn heads_after(&self, node: NodeId) -> Option<SplitColumns> {
        let split = split_after(self.graph, node)?;
        Some(SplitColumns { head_dim: split.head_dim as u32, rotated: self.rotated(), first: split.first })
    }

    /// Leading elements of each query and key head that are rotated; 0 in a model without rotary embedding.
    pub(super) fn rotated(&self) -> u32 {
        let dim =
            |node| if let Operation::Rope(rope) = &self.graph.node(node).op { Some(rope.dim as u32) } else { None };
        self.graph.nodes().find_map(dim).unwrap_or(0)
    }
}
