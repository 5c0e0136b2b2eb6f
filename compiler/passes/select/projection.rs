//! Selection of the calls for projections and the LM head.

use bitnetc_plan::program::FusedActivation;
use bitnetc_plan::{DType, Layout, TILE};

use super::weights::{self, SplitColumns};
use super::{SelectError, Selector};
use crate::graph::{Activation, Linear, NodeId, Offset, Operation, Role, Section, WeightRef};
use crate::passes::pad::split_after;
use crate::passes::values::product_dtype;
use crate::policy::Precision;
use crate::schedule::{Input, Kind};
use crate::ttnn::lm_head;

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
        let two_bits = precision.weight == DType::Bfp2;
        if two_bits && !linear.is_ternary() {
            return Err(self.unsupported(node, "weights that are not ternary in two bits", "bf16, bfp8 or bfp4"));
        }
        if two_bits && activation == Some(FusedActivation::Silu) {
            return Err(self.unsupported(node, "silu fused into a product by two-bit weights", "bfp4"));
        }
        let out = self.features(node, product_dtype(decision.activation))?;
        let sides = [self.width(&input), self.schedule.values[out].shape[3]];
        let paddings = [self.input_padding(node, 0), self.paddings.get(node.into())];
        let name = self.weight_name(node);
        let stored = |dtype: DType| {
            // Prefill reads the same weight in another data type.
            let name = &if dtype == DType::Bfp2 { format!("{name}.bfp2") } else { name.clone() };
            let (per_layer, banks) = (section == Section::Layer, self.setting.card.dram.banks);
            let storage = weights::Storage { name, per_layer, dtype, banks };
            weights::projection(storage, linear, self.heads_after(node), sides, paddings)
        };
        // Two bits hold a ternary weight as well as four do, for functions that the kernels know.
        let beside = self.setting.own_kernels
            && self.rows() <= TILE
            && precision.weight == DType::Bfp4
            && linear.is_ternary()
            && activation != Some(FusedActivation::Silu);
        let two_bits = beside.then(|| Box::new(stored(DType::Bfp2)));
        let weight = stored(precision.weight);
        let weight = self.weight(weight)?;
        let kind = Kind::Matmul { activation, precision, two_bits };
        self.call(node, section, kind, vec![input, weight], vec![out]);
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
