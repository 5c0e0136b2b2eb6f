//! Rotary embedding, in prefill.

use super::declare::op;
use crate::{ComputeKernel, MemoryConfig, Ref};

op! {
    /// `ttnn.experimental.rotary_embedding_llama` (prefill, `is_decode_mode=False`).
    Rotary = "experimental.rotary_embedding_llama" -> 1 {
        /// `[1,H,S,D]`.
        input: Ref [reads Tensor],
        /// `[1,1,S,D]`.
        cos: Ref [reads Cosines],
        /// `[1,1,S,D]`.
        sin: Ref [reads Sines],
        /// The pair-swapping matrix, one tile.
        trans: Ref [reads Tensor],
        /// Compute kernel config.
        compute: ComputeKernel,
        /// Placement of the result.
        memory: MemoryConfig,
    }
}
