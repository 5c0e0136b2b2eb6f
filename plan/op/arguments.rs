//! The arguments of each call.

use serde::{Deserialize, Serialize};

use super::Ref;
use crate::program::{ComputeKernel, MatmulProgram, NormProgram, SdpaProgram, Unary};
use crate::{Cores, DType, Layout, MemoryConfig, Scalar};

/// `ttnn.embedding`: rows of `table` `[1,1,V,D]` at `indices` `[..,N]` (u32, row-major) -> `[..,N,D]`, rank 3.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedding {
    /// Row numbers.
    pub indices: Ref,
    /// The rows.
    pub table: Ref,
    /// Layout of the result.
    pub layout: Layout,
    /// Placement of the result.
    pub memory: MemoryConfig,
}

/// `ttnn.rms_norm`: `x / sqrt(mean(x^2) + epsilon) * gamma` over the last dimension.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RmsNorm {
    /// `x`.
    pub input: Ref,
    /// Per-column factors.
    pub gamma: Ref,
    /// Added to the mean square.
    pub epsilon: Scalar,
    /// How the width is cut; `None` for an interleaved input.
    pub program: Option<NormProgram>,
    /// Compute kernel config.
    pub compute: ComputeKernel,
    /// Placement of the result.
    pub memory: MemoryConfig,
}

/// `ttnn.linear` without bias: `a @ b`, `[1,1,M,K] @ [1,1,K,N]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matmul {
    /// Activations.
    pub a: Ref,
    /// Weights, `[K, N]`.
    pub b: Ref,
    /// How it is cut over cores.
    pub program: MatmulProgram,
    /// Compute kernel config.
    pub compute: ComputeKernel,
    /// Data type of the result.
    pub dtype: DType,
    /// Placement of the result: its real one, shard spec included (TT-NN derives it from the program config).
    pub memory: MemoryConfig,
}

/// `ttnn.experimental.nlp_create_qkv_heads_decode`: `[1,1,B,(H+2*Hkv)*D]` -> q `[1,B,H,D]`, k and v `[1,B,Hkv,D]`, one user per core.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateHeadsDecode {
    /// Fused projection: all q heads, all k heads, all v heads.
    pub input: Ref,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads.
    pub kv_heads: u32,
    /// `overlap_qk_coregrid`: k on the cores of q and v; otherwise on the next ones.
    pub overlap: bool,
    /// The height-sharded config passed to TT-NN: it fixes the shard, `[32, D]`, and the grid from which TT-NN takes cores.
    pub memory: MemoryConfig,
}

/// `ttnn.experimental.nlp_create_qkv_heads` (prefill): `[1,1,S,(H+2*Hkv)*D]` -> q `[1,H,S,D]`, k and v `[1,Hkv,S,D]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateHeads {
    /// Fused projection.
    pub input: Ref,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads.
    pub kv_heads: u32,
    /// Placement of all three results.
    pub memory: MemoryConfig,
}

/// `ttnn.experimental.rotary_embedding_llama_fused_qk` (decode): rotates adjacent pairs of q and k.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotaryFused {
    /// Queries.
    pub q: Ref,
    /// Keys, on cores disjoint from those of `q`.
    pub k: Ref,
    /// Cosines `[1,2B,32,D]` on the cores of q and k.
    pub cos: Ref,
    /// Sines, likewise.
    pub sin: Ref,
    /// The pair-swapping matrix, once per core of q and k.
    pub trans: Ref,
    /// Compute kernel config.
    pub compute: ComputeKernel,
}

/// `ttnn.experimental.rotary_embedding_llama` (prefill, `is_decode_mode=False`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotary {
    /// `[1,H,S,D]`.
    pub input: Ref,
    /// `[1,1,S,D]`.
    pub cos: Ref,
    /// `[1,1,S,D]`.
    pub sin: Ref,
    /// The pair-swapping matrix, one tile.
    pub trans: Ref,
    /// Compute kernel config.
    pub compute: ComputeKernel,
    /// Placement of the result.
    pub memory: MemoryConfig,
}

/// `ttnn.experimental.rotary_embedding_llama` with `is_decode_mode=True`: q or k alone, where it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotaryDecode {
    /// `[1,B,H,D]`, one user per core.
    pub input: Ref,
    /// Cosines `[1,B,32,D]` on the cores of the input.
    pub cos: Ref,
    /// Sines, likewise.
    pub sin: Ref,
    /// The pair-swapping matrix, once per core of the input.
    pub trans: Ref,
    /// Compute kernel config.
    pub compute: ComputeKernel,
}

/// `ttnn.experimental.paged_fused_update_cache`: writes one row per user into both caches, in place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheUpdate {
    /// Key cache `[blocks, Hkv, block, D]`.
    pub k_cache: Ref,
    /// Keys, one user per core.
    pub k: Ref,
    /// Value cache.
    pub v_cache: Ref,
    /// Values, on cores disjoint from those of `k`.
    pub v: Ref,
    /// `[B]` i32: the row of each user.
    pub positions: Ref,
    /// `[B, blocks per user]` i32.
    pub page_table: Ref,
}

/// `ttnn.experimental.paged_update_cache`: writes one row per user into one cache, in place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheUpdateOne {
    /// Key or value cache `[blocks, Hkv, block, D]`.
    pub cache: Ref,
    /// Keys or values, one user per core.
    pub input: Ref,
    /// `[B]` i32: the row of each user.
    pub positions: Ref,
    /// `[B, blocks per user]` i32.
    pub page_table: Ref,
}

/// `ttnn.experimental.paged_fill_cache`: writes the prompt's rows of one user, in place. The user is the call's own argument.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheFill {
    /// Key or value cache.
    pub cache: Ref,
    /// `[1,Hkv,S,D]` in the cache's data type.
    pub input: Ref,
    /// `[B, blocks per user]` i32.
    pub page_table: Ref,
}

/// `ttnn.transformer.paged_scaled_dot_product_attention_decode`: q `[1,B,H,D]` -> `[1,B,H,D]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SdpaDecode {
    /// Queries.
    pub q: Ref,
    /// Key cache.
    pub k_cache: Ref,
    /// Value cache.
    pub v_cache: Ref,
    /// `[B]` i32: the last row each user may see.
    pub positions: Ref,
    /// `[B, blocks per user]` i32.
    pub page_table: Ref,
    /// Multiplies the scores.
    pub scale: Scalar,
    /// Program config.
    pub program: SdpaProgram,
    /// Compute kernel config.
    pub compute: ComputeKernel,
    /// Placement of the result.
    pub memory: MemoryConfig,
}

/// `ttnn.transformer.scaled_dot_product_attention` with `is_causal=True` (prefill).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sdpa {
    /// `[1,H,S,D]`.
    pub q: Ref,
    /// `[1,Hkv,S,D]`.
    pub k: Ref,
    /// `[1,Hkv,S,D]`.
    pub v: Ref,
    /// Multiplies the scores.
    pub scale: Scalar,
    /// Program config.
    pub program: SdpaProgram,
    /// Compute kernel config.
    pub compute: ComputeKernel,
    /// Placement of the result.
    pub memory: MemoryConfig,
}

/// `ttnn.experimental.nlp_concat_heads_decode`: `[1,B,H,D]` -> `[1,1,32,H*D]`, width-sharded over `cores`, one head per core.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConcatHeadsDecode {
    /// One user per core.
    pub input: Ref,
    /// Query heads.
    pub heads: u32,
    /// `sub_core_grids`.
    pub cores: Cores,
}

/// `ttnn.experimental.nlp_concat_heads` (prefill): `[1,H,S,D]` -> `[1,1,S,H*D]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConcatHeads {
    /// All heads.
    pub input: Ref,
    /// Placement of the result.
    pub memory: MemoryConfig,
}

/// `ttnn.to_memory_config`: the same tensor elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToMemoryConfig {
    /// The tensor.
    pub input: Ref,
    /// Its new placement.
    pub memory: MemoryConfig,
}

/// `ttnn.to_layout`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToLayout {
    /// The tensor.
    pub input: Ref,
    /// Its new layout.
    pub layout: Layout,
    /// Placement of the result.
    pub memory: MemoryConfig,
}

/// `ttnn.typecast`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Typecast {
    /// The tensor.
    pub input: Ref,
    /// Its new data type.
    pub dtype: DType,
    /// Placement of the result.
    pub memory: MemoryConfig,
}

/// `ttnn.reshape` that leaves every byte where it is: the result takes over the input's buffer, and the input may not be used again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct View {
    /// The tensor.
    pub input: Ref,
    /// New logical shape; its padded shape has the input's padded volume.
    pub shape: Vec<u32>,
}

/// `ttnn.transpose` of two dimensions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transpose {
    /// The tensor.
    pub input: Ref,
    /// The dimensions that change places.
    pub dims: (u32, u32),
    /// Placement of the result.
    pub memory: MemoryConfig,
}

/// Which rows a [`Slice`] keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rows {
    /// `start..end`.
    Range(u32, u32),
    /// The tile of 32 rows that holds the prompt's last token: the row it starts at is the call's own argument, a multiple of 32.
    LastTokenTile,
}

/// `ttnn.slice` of rows (second-to-last dimension).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slice {
    /// The tensor.
    pub input: Ref,
    /// The rows kept.
    pub rows: Rows,
    /// Placement of the result.
    pub memory: MemoryConfig,
}

/// `ttnn.concat` along the last dimension.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Concat {
    /// The tensors, left to right.
    pub inputs: Vec<Ref>,
    /// Placement of the result.
    pub memory: MemoryConfig,
}

/// The function of a [`Binary`] step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BinaryKind {
    /// `ttnn.add`.
    Add,
    /// `ttnn.mul`.
    Mul,
}

impl BinaryKind {
    /// The call's name.
    pub const fn call(self) -> &'static str {
        match self {
            BinaryKind::Add => "add",
            BinaryKind::Mul => "mul",
        }
    }
}

/// `ttnn.add` or `ttnn.mul`, with elementwise functions on operands and result. A `[..,1]` operand is broadcast along columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binary {
    /// Sum or product.
    pub kind: BinaryKind,
    /// Left operand.
    pub a: Ref,
    /// Right operand.
    pub b: Ref,
    /// Applied to `a` first.
    pub a_activations: Vec<Unary>,
    /// Applied to `b` first.
    pub b_activations: Vec<Unary>,
    /// Applied to the result.
    pub activations: Vec<Unary>,
    /// Data type of the result.
    pub dtype: DType,
    /// Where the result goes.
    pub into: Destination,
}

/// Where a [`Binary`] step writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Destination {
    /// A new tensor.
    New(MemoryConfig),
    /// `output_tensor=a`: over the left operand, whose spec the result has. The step has no output of its own.
    InPlace,
}

/// `ttnn.abs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AbsOp {
    /// The tensor.
    pub input: Ref,
    /// Placement of the result.
    pub memory: MemoryConfig,
}

/// `ttnn.max` over the last dimension, kept as length 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowMax {
    /// The tensor.
    pub input: Ref,
    /// Placement of the result.
    pub memory: MemoryConfig,
}

/// `ttnn.argmax` over the last dimension into a persistent buffer (`output_tensor`), which the next step's embedding reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArgMax {
    /// `[1,1,B,V]` row-major.
    pub input: Ref,
    /// `[1,1,B]` u32.
    pub output: Ref,
}

/// `ttnn.plus_one` of a persistent buffer, in place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlusOne {
    /// i32 or u32, row-major.
    pub buffer: Ref,
}

/// `ttnn.deallocate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deallocate {
    /// The value that ends here.
    pub input: Ref,
}
