//! The plan itself: the phases with their steps, the tensors they work on, and the card and options they were compiled for.
//!
//! A [`Phase`] keeps the repeated layer once, so that a person can read a plan of thirty layers; weights and buffers of a layer are found
//! by name. Everything predicted ([`Cost`], [`Footprint`], addresses) stands beside what it was predicted of.

use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;

use crate::{Card, Op, Padding, Ref, Source, TensorSpec, Weight};

/// Version of the plan format; a plan of another version is refused.
pub const FORMAT_VERSION: u32 = 6;

/// A compiled schedule of one model for one card.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`FORMAT_VERSION`].
    pub format: u32,
    /// For which release of TT-NN: its [version](crate::TtnnRelease::version).
    pub release: String,
    /// The model that was compiled.
    pub model: ModelInfo,
    /// The choices it was compiled with.
    pub options: Options,
    /// The card it was compiled for.
    pub card: Card,
    /// Constant tensors.
    pub weights: Vec<Weight>,
    /// Tensors that live across steps and are written by host or card.
    pub buffers: Vec<Buffer>,
    /// Decode first, then prefill by growing bucket.
    pub phases: Vec<Phase>,
}

/// Facts of the model that the runtime needs, and its identity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelInfo {
    /// Name in the RON file.
    pub name: String,
    /// SHA-256 of the model's function, in hex: two files that describe one model have one digest.
    pub digest: String,
    /// SHA-256 of the function that every phase computes, in hex, see [`crate::function`]: the model's, under the plan's policy, which may
    /// leave out the rounding of activations.
    pub function: String,
    /// Times the layer repeats.
    pub layers: u32,
    /// Rows of the embedding table.
    pub vocab: u32,
}

/// The choices given to the compiler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Precision policy and its overrides, as given.
    pub policy: String,
    /// `role=dtype/fidelity` overrides.
    pub overrides: Vec<String>,
    /// Users of the decode phase, 1 to 32.
    pub batch: u32,
    /// Tokens a user's KV cache holds.
    pub context: u32,
    /// Tokens of one KV cache block: 32, 64 or 128.
    pub block: u32,
    /// Position in the context for which the time of decode attention was predicted.
    pub priced_at: u32,
    /// How much of a result a lowering of precision had to keep.
    pub proofs: Proofs,
    /// Whether weight scales were folded into constants; otherwise each is multiplied where it belongs.
    pub folding: bool,
    /// Whether decode draws tokens on the card, by parameters of each user; otherwise it takes the likeliest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sample: bool,
    /// Whether decode may run kernels of bitnetc's own where they are predicted to be faster than TT-NN's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_kernels: bool,
}

/// How much of a result a lowering of precision has to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Proofs {
    /// Every bit of the result.
    Bits,
    /// Every product; their sum may be rounded less often.
    #[default]
    Products,
    /// Nothing is lowered.
    None,
}

impl Proofs {
    /// All of them, the strictest lowering first.
    pub const ALL: [Proofs; 3] = [Proofs::Bits, Proofs::Products, Proofs::None];
}

impl fmt::Display for Proofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Proofs::Bits => "bits",
            Proofs::Products => "products",
            Proofs::None => "none",
        })
    }
}

/// A word that names no [`Proofs`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no proofs `{0}`: there are bits, products and none")]
pub struct UnknownProofs(String);

impl std::str::FromStr for Proofs {
    type Err = UnknownProofs;

    fn from_str(text: &str) -> Result<Self, UnknownProofs> {
        let found = Proofs::ALL.into_iter().find(|proofs| proofs.to_string() == text);
        found.ok_or_else(|| UnknownProofs(text.to_string()))
    }
}

/// A tensor that lives as long as the plan runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Buffer {
    /// Name that steps use.
    pub name: String,
    /// One per layer.
    pub per_layer: bool,
    /// The tensor on the card, always in DRAM.
    pub spec: TensorSpec,
    /// Its address in every bank, that of the first layer's where there is one per layer: those of the others follow.
    pub address: Option<u64>,
    /// Its purpose, by which the runtime finds it.
    pub role: BufferRole,
}

/// The seed with which random numbers go on as if there were none.
pub const LEAVE: u32 = u32::MAX;

/// The purpose of a persistent buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum BufferRole {
    /// `[1,1,B]` u32: the token of each user that the next decode step reads. `[1,1,1,B]` where it is drawn on the card.
    Tokens,
    /// `[B]` i32: the position of that token; -1 of a user that is idle, for whom nothing is written or attended to.
    Positions,
    /// `[1,2B]` u32: the same positions twice, for the rotary rows of q and of k on cores of their own; `[1,B]` where they share cores. Of an
    /// idle user any position.
    RotaryPositions,
    /// `[B, blocks per user]` i32: the cache blocks of each user.
    PageTable,
    /// Keys of one layer.
    KeyCache,
    /// Values of one layer.
    ValueCache,
    /// `[1,1,S]` u32: the chunk of a prompt that a prefill phase with this many tokens processes, padded with any token.
    Prompt(u32),
    /// `[1,S]` u32: the positions of these tokens in the user's context; of the padding any position.
    PromptPositions(u32),
    /// `[1, blocks of S tokens]` i32: the cache blocks that these tokens are written to, -1 where they are not to be.
    ChunkPages(u32),
    /// `[1, blocks]` i32: the cache blocks of the user whose prompt is processed, enough for a chunk that starts at the context's last
    /// position.
    ContextPages,
    /// `[1]` i32: the position of the first token of the chunk.
    ChunkStart,
    /// `[4]` u32: where the tile of rows with the chunk's last token starts, `[0, 0, row, 0]`.
    LastTileStarts,
    /// `[4]` u32: where it ends, `[1, 1, row + 32, columns]`.
    LastTileEnds,
    /// `[1,1,32]` u32: the token after each row of the last-token tile of a prefill.
    FirstTokens,
    /// `[B]` u32: among how many of the likeliest tokens that of a user is drawn, 1 to 32.
    TopK,
    /// `[B]` bf16: the probability that the tokens have together among which that of a user is drawn, 0 to 1.
    TopP,
    /// `[B]` bf16: 1 / temperature of each user.
    InverseTemperature,
    /// `[B]` u32: from which number each user's random numbers start anew in the next step; [`LEAVE`] where they go on.
    Seeds,
    /// `[B]` u32: the number of each user, which is that of the core with its random numbers.
    Generators,
}

impl BufferRole {
    /// True for the caches: each layer has its own, and writes it.
    pub const fn is_cache(self) -> bool {
        match self {
            BufferRole::KeyCache | BufferRole::ValueCache => true,
            BufferRole::Tokens | BufferRole::Positions | BufferRole::RotaryPositions | BufferRole::PageTable => false,
            BufferRole::Prompt(_) | BufferRole::PromptPositions(_) | BufferRole::ChunkPages(_) => false,
            BufferRole::ContextPages | BufferRole::ChunkStart => false,
            BufferRole::LastTileStarts | BufferRole::LastTileEnds | BufferRole::FirstTokens => false,
            BufferRole::TopK | BufferRole::TopP | BufferRole::InverseTemperature => false,
            BufferRole::Seeds | BufferRole::Generators => false,
        }
    }
}

/// The task of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum PhaseKind {
    /// One token of each of `batch` users.
    Decode {
        /// Users.
        batch: u32,
    },
    /// Up to `tokens` tokens of one user, from any position whose predecessors are in the cache.
    Prefill {
        /// Bucket size; a multiple of 32 in a plan.
        tokens: u32,
    },
}

impl PhaseKind {
    /// Rows of an activation, one for each token that the phase processes: the users in decode, the bucket in prefill.
    pub const fn rows(self) -> u32 {
        match self {
            PhaseKind::Decode { batch } => batch,
            PhaseKind::Prefill { tokens } => tokens,
        }
    }

    /// Users whose caches the phase reads and writes: the batch in decode, one in prefill.
    pub const fn users(self) -> u32 {
        match self {
            PhaseKind::Decode { batch } => batch,
            PhaseKind::Prefill { .. } => 1,
        }
    }
}

impl fmt::Display for PhaseKind {
    /// `decode`, `prefill 128`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PhaseKind::Decode { .. } => f.write_str("decode"),
            PhaseKind::Prefill { tokens } => write!(f, "prefill {tokens}"),
        }
    }
}

/// One schedule: the prologue, the layer as often as the model has layers, the epilogue.
///
/// Values of the prologue live on into the layer and the epilogue until they are freed; a layer frees what it defines. The residual
/// stream is updated in place, so every layer finds it where the one before left it, and all layers have the same addresses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Decode or prefill.
    pub kind: PhaseKind,
    /// Before the layers.
    pub prologue: Vec<Step>,
    /// One layer.
    pub layer: Vec<Step>,
    /// After the layers.
    pub epilogue: Vec<Step>,
    /// Values that are still alive when the phase ends, for the host to read: the logits.
    pub results: Vec<String>,
    /// How it is captured, `None` when it is not.
    pub trace: Option<Trace>,
    /// Predicted time of the whole phase.
    pub cost: PhaseCost,
}

/// The parts of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Section {
    /// Runs once, before the layers.
    Prologue,
    /// Runs once for each layer.
    Layer,
    /// Runs once, after the layers.
    Epilogue,
}

impl Section {
    /// All sections in the order in which they run.
    pub const ALL: [Section; 3] = [Section::Prologue, Section::Layer, Section::Epilogue];
}

/// How a phase becomes a trace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// Runs before the capture, so that every kernel is compiled and every result allocated.
    pub warm_up: u32,
    /// Buffers the host may write between two replays.
    pub inputs: Vec<String>,
    /// Buffers the card itself carries to the next replay.
    pub feedback: Vec<String>,
}

/// One TT-NN call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Unique in its phase: `attn.qkv`.
    pub name: String,
    /// The call.
    pub op: Op,
    /// The tensors it returns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<Value>,
    /// L1 it takes.
    #[serde(default, skip_serializing_if = "Footprint::is_empty")]
    pub l1: Footprint,
    /// Time it is predicted to take.
    #[serde(default, skip_serializing_if = "Cost::is_zero")]
    pub cost: Cost,
    /// A few words about what was proved or decided for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// A tensor that a step returns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Value {
    /// Unique in its phase.
    pub name: String,
    /// The tensor.
    pub spec: TensorSpec,
    /// Which of its columns are zeros and not the model's; `None` when all are the model's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub padding: Option<Padding>,
    /// Its predicted address in its memory, the same on every core or in every bank; `None` until it is placed.
    pub address: Option<u64>,
}

/// L1 bytes per core during a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Footprint {
    /// Circular, dataflow and scratchpad buffers.
    pub circular_buffers: u64,
    /// From the lowest live tensor to the end of L1, while the step runs.
    pub tensors: u64,
}

impl Footprint {
    /// True when nothing is in L1.
    pub fn is_empty(&self) -> bool {
        *self == Footprint::default()
    }

    /// Bytes that must fit between the base and the end of L1.
    pub fn high_water(&self) -> u64 {
        self.circular_buffers.saturating_add(self.tensors)
    }
}

/// The resource that a step waits for most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Bound {
    /// Launching and synchronising.
    #[default]
    Launch,
    /// Reading DRAM.
    Dram,
    /// The matrix unit.
    Compute,
    /// Moving data between cores, elementwise work.
    Movement,
}

/// Predicted cost of a step; never a measurement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Predicted microseconds on the device.
    pub us: f64,
    /// Bytes read from and written to DRAM.
    pub dram_bytes: u64,
    /// Cycles of the busiest core's matrix unit.
    pub fpu_cycles: u64,
    /// The resource it waits for most.
    pub bound: Bound,
}

impl Cost {
    /// True when nothing was predicted.
    pub fn is_zero(&self) -> bool {
        *self == Cost::default()
    }
}

/// Predicted time of a phase.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PhaseCost {
    /// Predicted microseconds on the device, all layers: its steps and what it waits.
    pub device_us: f64,
    /// Least and largest microseconds on the device that the bands of the cost model's constants leave possible.
    pub band_us: (f64, f64),
    /// Microseconds in which no program could start because it was not dispatched yet.
    pub waits_us: f64,
    /// Predicted microseconds on the device at other positions of decode than the one the plan was priced at: position and time.
    pub positions: Vec<(u32, f64)>,
    /// Predicted microseconds of host work per run, outside the trace. None where it is not predicted: for a phase that is not captured
    /// the host dispatches every call, of which there is no measurement.
    pub host_us: Option<f64>,
    /// Bytes read from and written to DRAM.
    pub dram_bytes: u64,
}

impl Plan {
    /// The phase of a kind.
    pub fn phase(&self, kind: PhaseKind) -> Option<&Phase> {
        self.phases.iter().find(|p| p.kind == kind)
    }

    /// The decode phase.
    pub fn decode(&self) -> Option<&Phase> {
        self.phases.iter().find(|p| matches!(p.kind, PhaseKind::Decode { .. }))
    }

    /// The longest sequence that turns by the model's first rotary frequencies, where the plan also holds longer ones.
    pub fn short_sequence(&self) -> Option<u32> {
        self.weights.iter().find_map(|weight| match &weight.source {
            Source::RotaryTable { long, .. } => long.as_ref().map(|long| long.beyond),
            Source::Columns(_) | Source::Rows(_) | Source::Vectors(_) | Source::Ones { .. } => None,
            Source::RotaryTransform => None,
        })
    }

    /// The weight of a name.
    pub fn weight(&self, name: &str) -> Option<&Weight> {
        self.weights.iter().find(|w| w.name == name)
    }

    /// The buffer of a name.
    pub fn buffer(&self, name: &str) -> Option<&Buffer> {
        self.buffers.iter().find(|b| b.name == name)
    }

    /// The spec of every tensor that steps of a phase name.
    pub fn specs<'a>(&'a self, phase: &'a Phase) -> HashMap<Ref, &'a TensorSpec> {
        let weights = self.weights.iter().map(|w| (Ref::Weight(w.name.clone()), &w.spec));
        let buffers = self.buffers.iter().map(|b| (Ref::Buffer(b.name.clone()), &b.spec));
        let values = phase.steps().flat_map(|s| &s.outputs).map(|v| (Ref::Value(v.name.clone()), &v.spec));
        weights.chain(buffers).chain(values).collect()
    }

    /// The buffer of a role.
    pub fn buffer_for(&self, role: BufferRole) -> Option<&Buffer> {
        self.buffers.iter().find(|b| b.role == role)
    }
}

impl Phase {
    /// The steps of one section.
    pub fn section(&self, section: Section) -> &[Step] {
        match section {
            Section::Prologue => &self.prologue,
            Section::Layer => &self.layer,
            Section::Epilogue => &self.epilogue,
        }
    }

    /// The steps of prologue, one layer and epilogue.
    pub fn steps(&self) -> impl DoubleEndedIterator<Item = &Step> {
        self.prologue.iter().chain(&self.layer).chain(&self.epilogue)
    }
}
