//! Selection of the calls for projections and the LM head.

use bitnetc_plan::program::FusedActivation;
use bitnetc_plan::{DType, Layout, TILE};

use super::weights::{self, SplitColumns};
use super::{SelectError, Selector};
use crate::graph::{Activation, Linear, NodeId, Offset, Operation, Role, Section};
use crate::passes::values::product_dtype;
use crate::policy::Precision;
use crate::schedule::{Input, Kind};
use crate::ttnn::lm_head;

pub(super) const TOO_WIDE: &str = "a tensor's sides are below 2^31";

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
                "scales are applied before they are selected: a function fused into the projection is in the way",
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
        let split = self.heads_after(node);
        let padding = self.padding.get(&self.value(node, 0)).copied();
        let name = self.weight_name(node);
        let weight = weights::projection(
            &name,
            section == Section::Layer,
            linear,
            precision.weight,
            split,
            padding,
            self.setting.card.dram.banks,
        );
        let too_wide = || self.unsupported(node, "a matrix of 2^31 columns or rows, padding counted", TOO_WIDE);
        let weight = weight.ok_or_else(too_wide)?;
        let width = weight.spec.columns();
        let weight = self.weight(weight)?;
        let out = self.features(node, width, product_dtype(decision.activation));
        self.call(node, section, Kind::Matmul { activation, precision }, vec![input, weight], vec![out]);
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
        let matrix = weights::matrix(&part.weight);
        let rows = if self.decode() { self.rows() } else { TILE };
        let shape = vec![1, 1, rows, part.weight.shape[0] as u32];
        let out = self.schedule.value(self.graph.node(node).name.clone(), shape, lm_head::dtype(precision));
        self.schedule.values[out].layout = Layout::RowMajor;
        self.schedule.results.push(out);
        let kind = Kind::LmHead { matrix, precision, chunks: self.setting.lm_head_chunks };
        self.call(node, section, kind, vec![input], vec![out]);
        Ok(())
    }

    pub(super) fn bias(&mut self, node: NodeId, section: Section, offsets: &[Offset]) -> Result<(), SelectError> {
        let input = self.input(node, 0)?;
        let (split, per_layer) = (self.heads_after(node), section == Section::Layer);
        let name = format!("{}.bias", self.graph.node(node).name);
        let ternary = |name: &str| {
            let weights = self.graph.nodes().flat_map(|n| self.graph.node(n).op.weights());
            weights.into_iter().find(|weight| weight.name == name)
        };
        let weight = weights::bias(name, per_layer, offsets, split, ternary);
        let wide = || self.unsupported(node, "a bias of 2^31 columns, padding counted", TOO_WIDE);
        let weight = weight.ok_or_else(wide)?;
        let width = self.width(&input);
        let vector = self.weight(weight)?;
        let out = self.features(node, width, DType::Bf16);
        self.keep_padding(node, self.padding.get(&self.value(node, 0)).copied());
        self.call(node, section, Kind::Bias, vec![input, vector], vec![out]);
        Ok(())
    }

    /// The heads into which a projection's or a bias's columns are split, if they are.
    fn heads_after(&self, node: NodeId) -> Option<SplitColumns> {
        let (head_dim, first) = self.split_after(node)?;
        Some(SplitColumns { head_dim, rotated: self.rotated(), first })
    }

    /// Leading elements of each query and key head that are rotated; 0 in a model without rotary embedding.
    pub(super) fn rotated(&self) -> u32 {
        let dim = |node| if let Operation::Rope(rope) = &self.graph.node(node).op { Some(rope.dim as u32) } else { None };
        self.graph.nodes().find_map(dim).unwrap_or(0)
    }

    /// Elements of the heads into which a projection's output is split, and which of q, k and v it is or begins with; `None` if it is not
    /// split.
    fn split_after(&self, node: NodeId) -> Option<(u32, usize)> {
        let mut at = node;
        loop {
            let user = self.graph.only_user(at.into())?;
            match self.graph.node(user.node).op {
                Operation::SplitHeads { head_dim, .. } => return Some((head_dim as u32, user.input)),
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
}
