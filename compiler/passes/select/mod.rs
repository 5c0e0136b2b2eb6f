//! Select: the TT-NN calls of each logical operation, which differ between decode and prefill.
//!
//! | logical operation | decode | prefill |
//! |---|---|---|
//! | tokens, embedding | `embedding` of the token buffer | `embedding` of the prompt buffer |
//! | rope | rows of the tables looked up once per step, q and k at once (apart on shared cores) | whole tables, q and k apart |
//! | cache update | one row per user into k and v at once (apart on shared cores) | typecast to the cache's type, then k and v filled apart |
//! | attention | paged decode attention | causal attention over the prompt |
//! | last token | nothing: every row is a last token | slice of the tile of rows that holds it |
//! | argmax | into the token buffer, then positions count up | into the first-token buffer |
//!
//! Heads whose width is no multiple of a tile are padded with zero columns: products of zeros add nothing to scores and sums, and a
//! norm over padded heads makes up for the columns it counts too many (see [`weights`]).

mod attention;
mod mlp;
mod setting;
pub mod weights;

use std::collections::HashMap;

use bitnetc_plan::program::FusedActivation;
use bitnetc_plan::weight::HeadPadding;
use bitnetc_plan::{Buffer, BufferRole, DType, MemoryConfig, TILE, TensorSpec, Weight};

use crate::graph::{Graph, Linear, NodeId, Op, Phase, Role, Section, Unary, Value};
use crate::passes::precision::Decision;
use crate::policy::Precision;
use crate::schedule::{Call, HeadCores, Kind, Operand, Schedule, ValueId};
use crate::ttnn::lm_head;
pub use setting::{SelectError, Setting};

/// The TT-NN calls of `graph`.
///
/// # Errors
/// When an operation has no counterpart in TT-NN.
pub fn select(graph: &Graph, setting: &Setting<'_>) -> Result<Schedule, SelectError> {
    let mut selector = Selector {
        graph,
        setting,
        schedule: Schedule::default(),
        ids: HashMap::new(),
        padding: HashMap::new(),
        rotary: None,
    };
    for section in Section::ALL {
        let order = graph.order_in_place(section).map_err(|node| {
            selector.unsupported(node, "the residual stream is read after it was added to", "read the sum instead")
        })?;
        for node in order {
            selector.node(node, section)?;
        }
    }
    selector.layer_end()?;
    Ok(selector.schedule)
}

/// State of the selection.
struct Selector<'a> {
    graph: &'a Graph,
    setting: &'a Setting<'a>,
    schedule: Schedule,
    /// The schedule's value for each of the graph's.
    ids: HashMap<Value, ValueId>,
    /// Features that are padded heads.
    padding: HashMap<Value, HeadPadding>,
    /// The rotary rows and matrix, once a rope has needed them.
    rotary: Option<[Operand; 3]>,
}

impl Selector<'_> {
    fn node(&mut self, node: NodeId, section: Section) -> Result<(), SelectError> {
        match &self.graph.node(node).op {
            Op::Tokens => Ok(()),
            Op::Embedding { weight } => {
                self.embedding(node, weight);
                Ok(())
            }
            Op::Carry => self.carry(node),
            Op::RmsNorm { gamma, eps } => self.norm(node, section, gamma.as_ref(), eps),
            Op::Quantize { floor } => self.quantize(node, section, floor),
            Op::Dequantize { scale, power } => self.dequantize(node, section, scale, *power),
            Op::Scale { scale } => self.scale(node, section, scale),
            Op::Linear(linear) => self.linear(node, section, linear),
            Op::SplitHeads { heads, kv_heads, head_dim } => {
                self.split_heads(node, section, *heads, *kv_heads, *head_dim)
            }
            Op::Rope(rope) => self.rope(node, section, rope),
            Op::CacheUpdate { .. } => self.cache_update(node, section),
            Op::Attention { scale } => self.attention(node, section, scale),
            Op::MergeHeads => self.merge_heads(node, section),
            Op::Unary(unary) => Err(self.unsupported(
                node,
                format!("{unary:?} stands alone"),
                "let the fuse pass put it into a product",
            )),
            Op::Mul { a, b } => self.multiply(node, section, a, b),
            Op::Add { b_scale } => self.add(node, section, b_scale),
            Op::LastToken => self.last_token(node, section),
            Op::Argmax => self.argmax(node, section),
        }
    }

    /// Layers hand on the residual stream, nothing else.
    fn layer_end(&self) -> Result<(), SelectError> {
        match self.graph.carried() {
            Some(end) if self.ids.get(&end).copied() != self.schedule.stream => Err(self.unsupported(
                end.node,
                "a layer ends in something else than the residual stream",
                "end it in the last addition to the stream",
            )),
            _ => Ok(()),
        }
    }

    fn decode(&self) -> bool {
        matches!(self.graph.phase, Phase::Decode { .. })
    }

    /// Rows of the residual stream.
    fn rows(&self) -> u32 {
        self.graph.phase.rows() as u32
    }

    fn unsupported(&self, node: NodeId, what: impl Into<String>, hint: impl Into<String>) -> SelectError {
        SelectError::Unsupported { node: self.graph.node(node).name.clone(), what: what.into(), hint: hint.into() }
    }

    fn input(&self, node: NodeId, at: usize) -> Value {
        self.graph.inputs(node)[at]
    }

    /// The operand for the `at`th input of a node.
    fn operand(&self, node: NodeId, at: usize) -> Result<Operand, SelectError> {
        let value = self.input(node, at);
        let missing =
            || self.unsupported(node, format!("input {at} is no tensor"), "feed it from an operation that makes one");
        self.ids.get(&value).map(|id| Operand::Value(*id)).ok_or_else(missing)
    }

    /// Adds a call whose first output stands for the node's first output.
    fn call(&mut self, node: NodeId, section: Section, kind: Kind, inputs: Vec<Operand>, outputs: Vec<ValueId>) {
        let name = self.graph.node(node).name.clone();
        let note = self.setting.precision.get(&node).map(Decision::note).unwrap_or_default();
        for (output, id) in outputs.iter().enumerate() {
            self.ids.insert(Value { node, output }, *id);
        }
        let role = self.graph.node(node).role;
        self.schedule.section_mut(section).push(Call { name, role, kind, inputs, outputs, note });
    }

    /// Adds a call that stands for no node of its own.
    fn helper(&mut self, name: &str, section: Section, kind: Kind, inputs: Vec<Operand>, outputs: Vec<ValueId>) {
        let call = Call { name: name.to_string(), role: Role::Data, kind, inputs, outputs, note: String::new() };
        self.schedule.section_mut(section).push(call);
    }

    /// A value named like the node, of `[1, 1, rows, width]`.
    fn features(&mut self, node: NodeId, width: u32, dtype: DType) -> ValueId {
        let rows = if self.after_last_token(node) { TILE } else { self.rows() };
        self.schedule.value(self.graph.node(node).name.clone(), vec![1, 1, rows, width], dtype)
    }

    /// Whether a node of a prefill works on the last token's tile only.
    fn after_last_token(&self, node: NodeId) -> bool {
        !self.decode() && self.graph.node(node).outputs[0].rows == 1
    }

    /// Width of an operand's last dimension.
    fn width(&self, operand: &Operand) -> u32 {
        match operand {
            Operand::Value(id) => self.schedule.values[*id].shape.last().copied().unwrap_or(1),
            other => self.schedule.fixed_spec(other).map_or(1, TensorSpec::columns),
        }
    }

    /// Registers a weight once; a second time under the same name it is the same weight.
    fn weight(&mut self, weight: Weight) -> Operand {
        let operand = Operand::Weight(weight.name.clone());
        if self.schedule.weight(&weight.name).is_none() {
            self.schedule.weights.push(weight);
        }
        operand
    }

    /// Registers a buffer once.
    fn buffer(&mut self, name: &str, per_layer: bool, spec: TensorSpec, role: BufferRole) -> Operand {
        if self.schedule.buffer(name).is_none() {
            self.schedule.buffers.push(Buffer { name: name.to_string(), per_layer, spec, role });
        }
        Operand::Buffer(name.to_string())
    }

    fn tokens(&mut self) -> Operand {
        let rows = self.rows();
        let spec = |shape: Vec<u32>| TensorSpec::row_major(shape, DType::U32, MemoryConfig::DRAM);
        match self.graph.phase {
            Phase::Decode { .. } => self.buffer("tokens", false, spec(vec![1, 1, rows]), BufferRole::Tokens),
            Phase::Prefill { .. } => {
                self.buffer(&format!("prompt.{rows}"), false, spec(vec![1, 1, rows]), BufferRole::Prompt(rows))
            }
        }
    }

    fn positions(&mut self) -> Operand {
        let spec = TensorSpec::row_major(vec![self.setting.batch], DType::I32, MemoryConfig::DRAM);
        self.buffer("positions", false, spec, BufferRole::Positions)
    }

    /// Rows of a rotary table that a user of decode needs: one on every core that holds its q or k.
    fn rotary_copies(&self) -> u32 {
        match self.setting.heads {
            HeadCores::Disjoint => 2,
            HeadCores::Shared => 1,
        }
    }

    fn rotary_positions(&mut self) -> Operand {
        let spec =
            TensorSpec::row_major(vec![1, self.rotary_copies() * self.setting.batch], DType::U32, MemoryConfig::DRAM);
        self.buffer("rotary_positions", false, spec, BufferRole::RotaryPositions)
    }

    fn page_table(&mut self) -> Operand {
        let blocks = (self.graph.context as u32).div_ceil(self.setting.block);
        let spec = TensorSpec::row_major(vec![self.setting.batch, blocks], DType::I32, MemoryConfig::DRAM);
        self.buffer("page_table", false, spec, BufferRole::PageTable)
    }

    fn embedding(&mut self, node: NodeId, table: &crate::graph::WeightRef) {
        let tokens = self.tokens();
        let width = table.shape[1] as u32;
        let table = self.weight(weights::table("embedding", table));
        let out = self.features(node, width, DType::Bf16);
        self.call(node, Section::Prologue, Kind::Embedding, vec![tokens, table], vec![out]);
    }

    /// The residual stream is one value from the embedding to the last layer.
    fn carry(&mut self, node: NodeId) -> Result<(), SelectError> {
        let Operand::Value(stream) = self.operand(node, 0)? else {
            return Err(self.unsupported(node, "the residual stream starts as no value", "start it from an embedding"));
        };
        self.ids.insert(node.into(), stream);
        self.schedule.stream = Some(stream);
        Ok(())
    }

    fn norm(
        &mut self,
        node: NodeId,
        section: Section,
        gamma: Option<&crate::graph::WeightRef>,
        eps: &crate::graph::Scalar,
    ) -> Result<(), SelectError> {
        let input = self.operand(node, 0)?;
        let padding = self.padding.get(&self.input(node, 0)).copied();
        let width = self.width(&input);
        let per_layer = section == Section::Layer;
        let name = format!("{}.gamma", self.graph.node(node).name);
        let gamma = self.weight(weights::gamma(name, per_layer, gamma, width, padding));
        let epsilon = weights::scalar(&eps.times(&crate::graph::Scalar::number(weights::padded_share(padding))));
        let out = self.features(node, width, DType::Bf16);
        self.keep_padding(node, padding);
        self.call(node, section, Kind::RmsNorm { epsilon }, vec![input, gamma], vec![out]);
        Ok(())
    }

    fn keep_padding(&mut self, node: NodeId, padding: Option<HeadPadding>) {
        if let Some(padding) = padding {
            self.padding.insert(node.into(), padding);
        }
    }

    fn quantize(&mut self, node: NodeId, section: Section, floor: &crate::graph::Scalar) -> Result<(), SelectError> {
        let input = self.operand(node, 0)?;
        self.keep_padding(node, self.padding.get(&self.input(node, 0)).copied());
        let width = self.width(&input);
        let integers = self.features(node, width, DType::Bf16);
        let name = format!("{}.max", self.graph.node(node).name);
        let shape = vec![1, 1, self.schedule.values[integers].shape[2], 1];
        let maxima = self.schedule.value(name, shape, DType::Bf16);
        self.call(node, section, Kind::Quantize { floor: weights::scalar(floor) }, vec![input], vec![integers, maxima]);
        Ok(())
    }

    fn dequantize(
        &mut self,
        node: NodeId,
        section: Section,
        scale: &crate::graph::Scalar,
        power: i32,
    ) -> Result<(), SelectError> {
        if power != 1 {
            return Err(self.unsupported(
                node,
                format!("the row factor to the power {power}"),
                "dequantise each factor apart",
            ));
        }
        let Op::Quantize { floor } = self.graph.node(self.input(node, 1).node).op.clone() else {
            return Err(self.unsupported(
                node,
                "a row factor that no quantisation made",
                "feed it from a quantisation",
            ));
        };
        let inputs = vec![self.operand(node, 0)?, self.operand(node, 1)?];
        let width = self.width(&inputs[0]);
        self.keep_padding(node, self.padding.get(&self.input(node, 0)).copied());
        let out = self.features(node, width, DType::Bf16);
        self.call(
            node,
            section,
            Kind::Dequantize { scale: weights::scalar(scale), floor: weights::scalar(&floor) },
            inputs,
            vec![out],
        );
        Ok(())
    }

    fn linear(&mut self, node: NodeId, section: Section, linear: &Linear) -> Result<(), SelectError> {
        let input = self.operand(node, 0)?;
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
            Some(Unary::Relu) => Some(FusedActivation::Relu),
            Some(Unary::Silu) => Some(FusedActivation::Silu),
            Some(other) => {
                return Err(self.unsupported(
                    node,
                    format!("{other:?} fused into a matmul"),
                    "TT-NN fuses RELU and SILU; SQUARE is rejected",
                ));
            }
        };
        let split = self.split_after(node);
        let padding = self.padding.get(&self.input(node, 0)).copied();
        let name = self.graph.node(node).name.clone();
        let weight = weights::projection(
            &name,
            section == Section::Layer,
            linear,
            precision.weight,
            split,
            padding,
            self.setting.card.dram.banks,
        );
        let width = weight.spec.columns();
        let weight = self.weight(weight);
        // Integer sums are exact only as long as they are not rounded to bf16 before the row factor is applied.
        let integers = decision.activation.integer_max.is_some();
        let out = self.features(node, width, if integers { DType::F32 } else { DType::Bf16 });
        self.call(node, section, Kind::Matmul { activation, precision }, vec![input, weight], vec![out]);
        Ok(())
    }

    fn lm_head(
        &mut self,
        node: NodeId,
        section: Section,
        linear: &Linear,
        precision: Precision,
        input: Operand,
    ) -> Result<(), SelectError> {
        let [part] = linear.parts.as_slice() else {
            return Err(self.unsupported(node, "an LM head of several matrices", "one matrix [vocab, hidden]"));
        };
        let matrix = weights::matrix(&part.weight);
        let rows = if self.decode() { self.rows() } else { TILE };
        let shape = vec![1, 1, rows, part.weight.shape[0] as u32];
        let out = self.schedule.value("logits", shape, lm_head::dtype(precision));
        self.schedule.values[out].layout = bitnetc_plan::Layout::RowMajor;
        self.schedule.results.push(out);
        let kind = Kind::LmHead { matrix, precision, chunks: self.setting.lm_head_chunks };
        self.call(node, section, kind, vec![input], vec![out]);
        Ok(())
    }

    fn last_token(&mut self, node: NodeId, section: Section) -> Result<(), SelectError> {
        let input = self.operand(node, 0)?;
        if self.decode() {
            if let Operand::Value(id) = input {
                self.ids.insert(node.into(), id);
            }
            return Ok(());
        }
        let width = self.width(&input);
        let out = self.features(node, width, DType::Bf16);
        self.call(node, section, Kind::LastTile, vec![input], vec![out]);
        Ok(())
    }

    fn argmax(&mut self, node: NodeId, section: Section) -> Result<(), SelectError> {
        let logits = self.operand(node, 0)?;
        if self.decode() {
            let tokens = self.tokens();
            self.call(node, section, Kind::ArgMax, vec![logits, tokens], vec![]);
            let positions = self.positions();
            self.helper("positions.next", section, Kind::PlusOne, vec![positions], vec![]);
            if self.rotary.is_some() {
                let rotary = self.rotary_positions();
                self.helper("rotary_positions.next", section, Kind::PlusOne, vec![rotary], vec![]);
            }
        } else {
            let spec = TensorSpec::row_major(vec![1, 1, TILE], DType::U32, MemoryConfig::DRAM);
            let tokens = self.buffer("first_tokens", false, spec, BufferRole::FirstTokens);
            self.call(node, section, Kind::ArgMax, vec![logits, tokens], vec![]);
        }
        Ok(())
    }

    /// The heads into which a projection's output is split, if it is.
    fn split_after(&self, node: NodeId) -> Option<(u32, u32, u32)> {
        let mut at = node;
        loop {
            let user = self.graph.only_user(at.into())?;
            match self.graph.node(user.node).op {
                Op::SplitHeads { heads, kv_heads, head_dim } => {
                    return Some((heads as u32, kv_heads as u32, head_dim as u32));
                }
                Op::Dequantize { .. } | Op::Scale { .. } if user.input == 0 => at = user.node,
                _ => return None,
            }
        }
    }
}
