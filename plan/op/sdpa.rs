//! Causal attention of a chunk of a prompt over the paged KV cache, in prefill.

use super::declare::op;
use crate::program::SdpaProgram;
use crate::{ComputeKernel, MemoryConfig, Ref, Scalar};

op! {
    /// `ttnn.transformer.chunked_scaled_dot_product_attention` with `chunk_start_idx_tensor`: row `i` of the chunk sees the positions up to
    /// `start + i`, its own included, which has to be in the cache by then.
    Sdpa = "transformer.chunked_scaled_dot_product_attention" -> 1 {
        /// `[1,H,S,D]`.
        q: Ref [reads Queries],
        /// Key cache.
        k_cache: Ref [reads KeyCache],
        /// Value cache.
        v_cache: Ref [reads ValueCache],
        /// `[1, blocks]` i32: the blocks of the user's context, in order.
        pages: Ref [reads ContextPages],
        /// `[1]` i32: position of the chunk's first row, a multiple of both chunk sizes of the program config.
        start: Ref [reads ChunkStart],
        /// Multiplies the scores.
        scale: Scalar,
        /// Program config.
        program: SdpaProgram,
        /// Compute kernel config.
        compute: ComputeKernel,
        /// Placement of the result.
        memory: MemoryConfig,
    }
}
