//! Rotary embedding of queries and keys in one call, in decode.

use super::declare::op;
use crate::{ComputeKernel, Ref};

op! {
    /// `ttnn.experimental.rotary_embedding_llama_fused_qk` (decode): rotates adjacent pairs of q and k.
    RotaryFused = "experimental.rotary_embedding_llama_fused_qk" -> 2 {
        /// Queries.
        q: Ref [reads Tensor],
        /// Keys, on cores disjoint from those of `q`.
        k: Ref [reads Tensor],
        /// Cosines `[1,2B,32,D]` on the cores of q and k.
        cos: Ref [reads Cosines],
        /// Sines, likewise.
        sin: Ref [reads Sines],
        /// The pair-swapping matrix, once per core of q and k.
        trans: Ref [reads Tensor],
        /// Compute kernel config.
        compute: ComputeKernel,
    }
}
