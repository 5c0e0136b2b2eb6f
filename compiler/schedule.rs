//! A phase as a list of TT-NN calls without placements. The `select` pass makes it of a graph, and the `place` pass decides how each call
//! is run.
//!
//! A [`Call`] names the computation and the tensors it reads and makes. The program config, the memory configs and sometimes the number of
//! steps are chosen later, and are the content of a [`crate::ttnn::Candidate`].

use std::ops::RangeInclusive;

use bitnetc_plan::program::FusedActivation;
use bitnetc_plan::weight::Matrix;
use bitnetc_plan::{Buffer, DType, Layout, Scalar, TensorSpec, Unary, Weight};

use crate::graph::{Role, Section};
use crate::policy::Precision;

/// A tensor of the phase, without its placement.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueInfo {
    /// Unique in the phase.
    pub name: String,
    /// Logical shape.
    pub shape: Vec<u32>,
    /// Data type.
    pub dtype: DType,
    /// Tile or row-major.
    pub layout: Layout,
}

/// Index into [`Schedule::values`].
pub type ValueId = usize;

/// A tensor that a call reads.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A value of the phase.
    Value(ValueId),
    /// A weight, by name.
    Weight(String),
    /// A persistent buffer, by name.
    Buffer(String),
}

/// The cores on which decode keeps the query and key heads of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadCores {
    /// Queries and keys are on different cores, so this takes two cores per user. One call rotates both, and one call writes keys and
    /// values into their caches. The fused projection must come in width shards of a head or less.
    Disjoint,
    /// Queries and keys are on the same core. Each is rotated and cached by a call of its own, and the fused projection may be in any
    /// shards.
    Shared,
}

/// The computation of a call. The tensors it reads and makes are listed as `inputs -> outputs`.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `ids buffer, table -> rows`.
    Embedding,
    /// `x, gamma -> y`.
    RmsNorm {
        /// Added to the mean square.
        epsilon: Scalar,
    },
    /// `heads, gamma -> heads`: each head by itself.
    HeadNorm {
        /// Added to the mean square.
        epsilon: Scalar,
    },
    /// `x, vector -> y`: adds the vector to every row.
    Bias,
    /// `x, weight -> y`.
    Matmul {
        /// Applied to the result.
        activation: Option<FusedActivation>,
        /// Data type, fidelity, accumulation.
        precision: Precision,
        /// The same weight in two bits, where kernels of bitnetc's own come into question.
        two_bits: Option<Box<Weight>>,
    },
    /// `x -> relu(x gate)^2 * (x up)`, by kernels of bitnetc's own.
    Gated {
        /// Data type, fidelity, accumulation; of both.
        precision: Precision,
        /// The gate's weight, in two bits.
        gate: Box<Weight>,
        /// The other one, in two bits.
        up: Box<Weight>,
    },
    /// `x -> logits`: the weight is cut into as many chunks of its rows as is cheapest.
    LmHead {
        /// The matrix to cut.
        matrix: Matrix,
        /// Data type, fidelity, accumulation.
        precision: Precision,
        /// The numbers of chunks that come into question: one, when another phase has already decided it.
        chunks: RangeInclusive<u32>,
    },
    /// `q, k, v -> qkv`: projections of their own side by side.
    Join,
    /// `qkv -> q, k, v`.
    CreateHeads {
        /// Query heads.
        heads: u32,
        /// Key and value heads.
        kv_heads: u32,
        /// Elements per head, padded.
        head_dim: u32,
        /// The cores of queries and keys in decode.
        cores: HeadCores,
    },
    /// `positions buffer, table -> rows`, in decode on the cores of q and k.
    RotaryRows,
    /// `q, k, cos, sin, transform -> q, k` (decode).
    RotaryFused,
    /// `x, cos, sin, transform -> y`, q or k alone.
    Rotary,
    /// `k cache, k, v cache, v, positions, page table ->` (decode).
    CacheUpdate,
    /// `cache, rows, positions, page table ->`, keys or values alone (decode).
    CacheUpdateOne,
    /// `cache, rows, chunk pages ->` (prefill).
    CacheFill,
    /// `q, k cache, v cache, page table, positions -> heads` (decode) or `q, k cache, v cache, context pages, chunk start -> heads` (prefill).
    Attention {
        /// Multiplies the scores.
        scale: Scalar,
        /// Fidelity and accumulation.
        precision: Precision,
        /// Tokens the cache holds.
        context: u32,
        /// Tokens of a cache block.
        block: u32,
    },
    /// `heads -> features`.
    ConcatHeads {
        /// Query heads.
        heads: u32,
    },
    /// `x, y ->`: adds `scale * y` to `x` in place.
    AddInto {
        /// Multiplies `y`.
        scale: Scalar,
    },
    /// `x, y, row maxima ->`: adds `scale * maximum / 127 * y` to `x` in place, by TT-NN's calls or by kernels of bitnetc's own.
    AddDequantized {
        /// Multiplies `y`.
        scale: Scalar,
        /// The least row maximum of the quantisation that is undone.
        floor: Scalar,
    },
    /// `a, b -> product`.
    Multiply {
        /// Applied to `a` first.
        a: Vec<Unary>,
        /// Applied to `b` first.
        b: Vec<Unary>,
    },
    /// `x -> integers, row maxima`.
    Quantize {
        /// Least row maximum that is divided by.
        floor: Scalar,
        /// Whether kernels of bitnetc's own come into question.
        own_kernels: bool,
    },
    /// `y, row maxima -> y * scale * (maximum / 127)^power`.
    Dequantize {
        /// A constant factor, at no cost of its own.
        scale: Scalar,
        /// The least row maximum of the quantisation that is undone.
        floor: Scalar,
        /// How many factors of `y` were quantised by it.
        power: u32,
    },
    /// `x -> scale * x`.
    Scale {
        /// Multiplies.
        scale: Scalar,
    },
    /// `x -> x` in another data type.
    Typecast,
    /// `x, starts, ends -> rows`: the tile of rows with the last token of a chunk.
    LastTile,
    /// `logits, ids buffer ->`.
    ArgMax,
    /// `logits -> values, tokens`: the largest of each row.
    TopK,
    /// `seeds buffer, generators buffer ->`.
    Seed,
    /// `values, tokens, k buffer, p buffer, 1/temperature buffer, ids buffer ->`.
    Sample,
    /// `buffer ->`.
    PlusOne {
        /// Negative numbers stay what they are.
        skip_negative: bool,
    },
}

impl Kind {
    /// Whether the `at`th value among the inputs is written in place.
    pub fn writes(&self, at: usize) -> bool {
        matches!(self, Kind::AddInto { .. }) && at == 0
    }
}

/// One computation of a phase. It becomes one or more steps of the plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// A name that is unique in the phase and that its steps are named after.
    pub name: String,
    /// The role of the model's operation that it belongs to.
    pub role: Role,
    /// The computation.
    pub kind: Kind,
    /// The tensors it reads, in the order of [`Kind`].
    pub inputs: Vec<Input>,
    /// The values it makes, in the order of [`Kind`].
    pub outputs: Vec<ValueId>,
    /// A note on the proof of its precision; empty when there is none.
    pub note: String,
}

impl Call {
    /// The values among the inputs, in order.
    pub fn values(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.inputs.iter().filter_map(|i| if let Input::Value(v) = i { Some(*v) } else { None })
    }
}

/// All calls of a phase.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Schedule {
    /// Tensors made by calls.
    pub values: Vec<ValueInfo>,
    /// Constant tensors read by calls, without those of the LM head.
    pub weights: Vec<Weight>,
    /// Persistent buffers read or written by calls.
    pub buffers: Vec<Buffer>,
    /// Calls before the layers.
    pub prologue: Vec<Call>,
    /// Calls of one layer.
    pub layer: Vec<Call>,
    /// Calls after the layers.
    pub epilogue: Vec<Call>,
    /// The residual stream: made in the prologue, changed in place by the layer.
    pub stream: Option<ValueId>,
    /// Values left alive at the end.
    pub results: Vec<ValueId>,
}

impl Schedule {
    /// Adds a value.
    pub fn value(&mut self, name: impl Into<String>, shape: Vec<u32>, dtype: DType) -> ValueId {
        self.values.push(ValueInfo { name: name.into(), shape, dtype, layout: Layout::Tile });
        self.values.len() - 1
    }

    /// The calls of a section.
    pub fn section(&self, section: Section) -> &[Call] {
        match section {
            Section::Prologue => &self.prologue,
            Section::Layer => &self.layer,
            Section::Epilogue => &self.epilogue,
        }
    }

    /// The calls of a section, so that one can be added.
    pub fn section_mut(&mut self, section: Section) -> &mut Vec<Call> {
        match section {
            Section::Prologue => &mut self.prologue,
            Section::Layer => &mut self.layer,
            Section::Epilogue => &mut self.epilogue,
        }
    }

    /// The constant tensor of a name.
    pub fn weight(&self, name: &str) -> Option<&Weight> {
        self.weights.iter().find(|w| w.name == name)
    }

    /// The persistent buffer of a name.
    pub fn buffer(&self, name: &str) -> Option<&Buffer> {
        self.buffers.iter().find(|b| b.name == name)
    }

    /// The spec of a weight or buffer; `None` for a value, which has no placement yet.
    pub fn fixed_spec(&self, input: &Input) -> Option<&TensorSpec> {
        match input {
            Input::Value(_) => None,
            Input::Weight(name) => self.weight(name).map(|w| &w.spec),
            Input::Buffer(name) => self.buffer(name).map(|b| &b.spec),
        }
    }
}
