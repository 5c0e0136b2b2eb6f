//! Select: each logical operation becomes one or more TT-NN calls, which differ between decode and prefill.
//!
//! | logical operation | decode | prefill |
//! |---|---|---|
//! | tokens, embedding | `embedding` of the token buffer | `embedding` of the prompt buffer |
//! | rope | rows of the tables looked up once per step, q and k at once (apart on shared cores) | rows looked up once, q and k apart |
//! | cache update | one row per user into k and v at once (apart on shared cores) | typecast to the cache's type, then k and v filled apart |
//! | attention | paged decode attention | attention of the chunk over the paged cache |
//! | last token | nothing: every row is a last token | slice of the tile of rows that holds it |
//! | argmax | into the token buffer, or a token drawn among the likeliest; then positions count up | into the first-token buffer |
//!
//! Whatever differs from one prefill to the next is in a buffer: tokens, positions, cache blocks, the chunk's start and the place of the last
//! token. So a phase is the same calls for every user, length and offset, and can be traced.
//!
//! Values have the columns that [`super::pad`] gives them.

mod attention;
mod eltwise;
mod norm;
mod projection;
mod rotary;
mod setting;
mod token;
pub mod weights;

use std::collections::HashMap;

use bitnetc_plan::{Buffer, BufferRole, DType, MemoryConfig, Padding, TILE, TensorSpec, Weight};

use crate::graph::{Graph, NodeId, Operation, PhaseKind, Role, Rope, Section, Shape, Value, WeightRef};
use crate::passes::pad::Paddings;
use crate::passes::precision::Decision;
use crate::schedule::{Call, HeadCores, Input, Kind, Schedule, ValueId};
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
        paddings: Paddings::of(graph),
        rotary: Vec::new(),
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

/// Names of buffers without a dot. All other buffers have a dot in their name, which no node has, so that only these could clash with a
/// node.
const BUFFERS: [&str; 16] = [
    "tokens",
    "positions",
    "rotary_positions",
    "page_table",
    "k_cache",
    "v_cache",
    "context_pages",
    "chunk_start",
    "last_tile_starts",
    "last_tile_ends",
    "first_tokens",
    "top_k",
    "top_p",
    "inverse_temperature",
    "seeds",
    "generators",
];

/// The state of the selection of one phase.
struct Selector<'a> {
    graph: &'a Graph,
    setting: &'a Setting<'a>,
    schedule: Schedule,
    /// The schedule's value for each of the graph's.
    ids: HashMap<Value, ValueId>,
    /// The zeros that follow columns of the graph's values.
    paddings: Paddings,
    /// The rotary tables and the transformation matrix of each rope and padded head width met so far.
    rotary: Vec<(Rope, u32, [Input; 3])>,
}

impl Selector<'_> {
    fn node(&mut self, node: NodeId, section: Section) -> Result<(), SelectError> {
        match &self.graph.node(node).op {
            Operation::Tokens => Ok(()),
            Operation::Embedding { weight } => self.embedding(node, section, weight),
            Operation::Carry => self.carry(node),
            Operation::RmsNorm { gamma, scale, eps } => {
                self.norm(node, section, gamma.as_ref().map(|gamma| (gamma, scale)), eps)
            }
            Operation::Quantize { floor } => self.quantize(node, section, floor),
            Operation::Dequantize { scale, power } => self.dequantize(node, section, scale, *power),
            Operation::Scale { scale } => self.scale(node, section, scale),
            Operation::Linear(linear) => self.linear(node, section, linear),
            Operation::Bias(offsets) => self.bias(node, section, offsets),
            Operation::SplitHeads { heads, kv_heads, head_dim } => {
                self.split_heads(node, section, *heads, *kv_heads, *head_dim)
            }
            Operation::Rope(rope) => self.rope(node, section, rope),
            Operation::CacheUpdate { .. } => self.cache_update(node, section),
            Operation::Attention { scale } => self.attention(node, section, scale),
            Operation::MergeHeads => self.merge_heads(node, section),
            Operation::Activation(unary) => Err(self.unsupported(
                node,
                format!("{unary:?} stands alone"),
                "let the fuse pass put it into a product",
            )),
            Operation::Mul { a, b } => self.multiply(node, section, a, b),
            Operation::Add { b_scale } => self.add(node, section, b_scale),
            Operation::LastToken => self.last_token(node, section),
            Operation::Argmax => self.argmax(node, section),
        }
    }

    /// Checks that a layer hands on the residual stream and nothing else.
    fn layer_end(&self) -> Result<(), SelectError> {
        match self.graph.carried() {
            Some(end) if self.ids.get(&end).copied() != self.schedule.stream => Err(self.unsupported(
                end.node,
                "a layer ends in something else than the residual stream",
                "end it in the last addition to the stream",
            )),
            Some(_) | None => Ok(()),
        }
    }

    fn decode(&self) -> bool {
        matches!(self.graph.phase, PhaseKind::Decode { .. })
    }

    /// Rows of the residual stream.
    fn rows(&self) -> u32 {
        self.graph.phase.rows()
    }

    fn unsupported(&self, node: NodeId, what: impl Into<String>, hint: impl Into<String>) -> SelectError {
        SelectError::Unsupported { node: self.graph.node(node).name.clone(), what: what.into(), hint: hint.into() }
    }

    fn value(&self, node: NodeId, at: usize) -> Value {
        self.graph.inputs(node)[at]
    }

    /// The call input for the `at`th input of a node.
    fn input(&self, node: NodeId, at: usize) -> Result<Input, SelectError> {
        let value = self.value(node, at);
        let missing =
            || self.unsupported(node, format!("input {at} is no tensor"), "feed it from an operation that makes one");
        self.ids.get(&value).map(|id| Input::Value(*id)).ok_or_else(missing)
    }

    /// Adds a call whose first output stands for the node's first output.
    fn call(&mut self, node: NodeId, section: Section, kind: Kind, inputs: Vec<Input>, outputs: Vec<ValueId>) {
        let name = self.graph.node(node).name.clone();
        let note = self.setting.precision.get(&node).map(Decision::note).unwrap_or_default();
        for (output, id) in outputs.iter().enumerate() {
            self.ids.insert(Value { node, output }, *id);
        }
        let role = self.graph.node(node).role;
        self.schedule.section_mut(section).push(Call { name, role, kind, inputs, outputs, note });
    }

    /// Adds a call that prepares something for other calls and belongs to no node.
    fn helper(&mut self, name: &str, section: Section, kind: Kind, inputs: Vec<Input>, outputs: Vec<ValueId>) {
        let call = Call { name: name.to_string(), role: Role::Data, kind, inputs, outputs, note: String::new() };
        self.schedule.section_mut(section).push(call);
    }

    /// A value named like the node, of `[1, 1, rows, columns]`, padding included.
    fn features(&mut self, node: NodeId, dtype: DType) -> Result<ValueId, SelectError> {
        let rows = if self.after_last_token(node) { TILE } else { self.rows() };
        let Shape::Features(width) = self.graph.node(node).outputs[0].shape else {
            return Err(self.unsupported(node, "rows of something else than features", "a vector per row"));
        };
        let columns = self.paddings.get(node.into()).map_or(width as u64, Padding::columns);
        let columns = u32::try_from(columns).ok().filter(|columns| *columns < 1 << 31);
        let too_wide = || self.unsupported(node, "2^31 columns, padding counted", "a tensor's sides are below 2^31");
        let shape = vec![1, 1, rows, columns.ok_or_else(too_wide)?];
        Ok(self.schedule.value(self.graph.node(node).name.clone(), shape, dtype))
    }

    /// The padding of a node's `at`th input.
    fn input_padding(&self, node: NodeId, at: usize) -> Option<Padding> {
        self.paddings.get(self.value(node, at))
    }

    /// Checks that the inputs of an elementwise operation are padded alike.
    fn check_alike(&self, node: NodeId) -> Result<(), SelectError> {
        let [a, b] = [0, 1].map(|at| self.input_padding(node, at));
        if a == b {
            return Ok(());
        }
        let text = |padding: Option<Padding>| padding.map_or_else(|| "all columns".into(), |p| p.to_string());
        let what = format!("operands of {} and {}", text(a), text(b));
        Err(self.unsupported(node, what, "heads of whole tiles, where heads meet other rows"))
    }

    /// Whether a node of a prefill works on the last token's tile only.
    fn after_last_token(&self, node: NodeId) -> bool {
        !self.decode() && self.graph.node(node).outputs[0].rows == 1
    }

    /// Width of an input's last dimension.
    fn width(&self, input: &Input) -> u32 {
        match input {
            Input::Value(id) => self.schedule.values[*id].shape.last().copied().unwrap_or(1),
            other => self.schedule.fixed_spec(other).map_or(1, TensorSpec::columns),
        }
    }

    /// The name of a projection's weight: that of the projection, unless a buffer has this name.
    fn weight_name(&self, node: NodeId) -> String {
        let name = &self.graph.node(node).name;
        if BUFFERS.contains(&name.as_str()) { format!("{name}.weight") } else { name.clone() }
    }

    /// Registers a weight. A second one of the same name must be the same weight.
    fn weight(&mut self, weight: Weight) -> Result<Input, SelectError> {
        let input = Input::Weight(weight.name.clone());
        match self.schedule.weight(&weight.name) {
            Some(known) if *known != weight => return Err(SelectError::Clash { name: weight.name }),
            Some(_) => {}
            None => self.schedule.weights.push(weight),
        }
        Ok(input)
    }

    /// Registers a buffer. A second one of the same name must be the same buffer.
    fn buffer(
        &mut self,
        name: &str,
        per_layer: bool,
        spec: TensorSpec,
        role: BufferRole,
    ) -> Result<Input, SelectError> {
        let buffer = Buffer { name: name.to_string(), per_layer, spec, address: None, role };
        match self.schedule.buffer(name) {
            Some(known) if *known != buffer => return Err(SelectError::Clash { name: buffer.name }),
            Some(_) => {}
            None => self.schedule.buffers.push(buffer),
        }
        Ok(Input::Buffer(name.to_string()))
    }

    /// Registers a buffer of row-major integers.
    fn integers(&mut self, name: &str, shape: Vec<u32>, dtype: DType, role: BufferRole) -> Result<Input, SelectError> {
        self.buffer(name, false, TensorSpec::row_major(shape, dtype, MemoryConfig::DRAM), role)
    }

    fn tokens(&mut self) -> Result<Input, SelectError> {
        let rows = self.rows();
        let (name, role) = match self.graph.phase {
            PhaseKind::Decode { .. } => ("tokens".to_string(), BufferRole::Tokens),
            PhaseKind::Prefill { .. } => (format!("prompt.{rows}"), BufferRole::Prompt(rows)),
        };
        let shape = if self.draws() { vec![1, 1, 1, rows] } else { vec![1, 1, rows] };
        self.integers(&name, shape, DType::U32, role)
    }

    fn positions(&mut self) -> Result<Input, SelectError> {
        self.integers("positions", vec![self.setting.batch], DType::I32, BufferRole::Positions)
    }

    /// Rows of a rotary table that a user of decode needs: one on every core that holds its q or k.
    fn rotary_copies(&self) -> u32 {
        match self.setting.heads {
            HeadCores::Disjoint => 2,
            HeadCores::Shared => 1,
        }
    }

    /// The positions whose rows of the rotary tables are looked up.
    fn rotary_positions(&mut self) -> Result<Input, SelectError> {
        let rows = self.rows();
        match self.graph.phase {
            PhaseKind::Decode { .. } => {
                let shape = vec![1, self.rotary_copies() * rows];
                self.integers("rotary_positions", shape, DType::U32, BufferRole::RotaryPositions)
            }
            PhaseKind::Prefill { .. } => {
                let name = format!("prompt_positions.{rows}");
                self.integers(&name, vec![1, rows], DType::U32, BufferRole::PromptPositions(rows))
            }
        }
    }

    fn page_table(&mut self) -> Result<Input, SelectError> {
        let blocks = (self.graph.context as u32).div_ceil(self.setting.block);
        self.integers("page_table", vec![self.setting.batch, blocks], DType::I32, BufferRole::PageTable)
    }

    /// The cache blocks that a prefill's rows are written to.
    fn chunk_pages(&mut self) -> Result<Input, SelectError> {
        let rows = self.rows();
        let shape = vec![1, rows.div_ceil(self.setting.block)];
        self.integers(&format!("chunk_pages.{rows}"), shape, DType::I32, BufferRole::ChunkPages(rows))
    }

    /// The cache blocks that a prefill's attention reads: of the whole context and of the longest chunk that starts in it, in multiples of 8,
    /// as TT-NN asks.
    fn context_pages(&mut self) -> Result<Input, SelectError> {
        let blocks = (self.graph.context as u32 + self.setting.longest_prefill).div_ceil(self.setting.block);
        let shape = vec![1, blocks.next_multiple_of(8)];
        self.integers("context_pages", shape, DType::I32, BufferRole::ContextPages)
    }

    fn chunk_start(&mut self) -> Result<Input, SelectError> {
        self.integers("chunk_start", vec![1], DType::I32, BufferRole::ChunkStart)
    }

    fn embedding(&mut self, node: NodeId, section: Section, table: &WeightRef) -> Result<(), SelectError> {
        let tokens = self.tokens()?;
        let name = format!("{}.table", self.graph.node(node).name);
        let out = self.features(node, DType::Bf16)?;
        let table = self.weight(weights::table(&name, table, self.paddings.get(node.into())))?;
        self.call(node, section, Kind::Embedding, vec![tokens, table], vec![out]);
        Ok(())
    }

    /// The residual stream is one value from the embedding to the last layer.
    fn carry(&mut self, node: NodeId) -> Result<(), SelectError> {
        let Input::Value(stream) = self.input(node, 0)? else {
            return Err(self.unsupported(node, "the residual stream starts as no value", "start it from an embedding"));
        };
        self.ids.insert(node.into(), stream);
        self.schedule.stream = Some(stream);
        Ok(())
    }

    fn last_token(&mut self, node: NodeId, section: Section) -> Result<(), SelectError> {
        let input = self.input(node, 0)?;
        if self.decode() {
            if let Input::Value(id) = input {
                self.ids.insert(node.into(), id);
            }
            return Ok(());
        }
        let out = self.features(node, DType::Bf16)?;
        let starts = self.integers("last_tile_starts", vec![4], DType::U32, BufferRole::LastTileStarts)?;
        let ends = self.integers("last_tile_ends", vec![4], DType::U32, BufferRole::LastTileEnds)?;
        self.call(node, section, Kind::LastTile, vec![input, starts, ends], vec![out]);
        Ok(())
    }
}
