//! Attention over the paged KV cache, in decode.

use super::declare::op;
use crate::program::SdpaProgram;
use crate::{ComputeKernel, MemoryConfig, Ref, Scalar};

op! {
    /// `ttnn.transformer.paged_scaled_dot_product_attention_decode`: q `[1,B,H,D]` -> `[1,B,H,D]`.
    SdpaDecode = "transformer.paged_scaled_dot_product_attention_decode" -> 1 {
        /// Queries.
        q: Ref [reads Queries],
        /// Key cache.
        k_cache: Ref [reads KeyCache],
        /// Value cache.
        v_cache: Ref [reads ValueCache],
        /// `[B]` i32: the last row each user may see.
        positions: Ref [reads Positions],
        /// `[B, blocks per user]` i32.
        page_table: Ref [reads PageTable],
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
