//! Causal attention of a whole prompt, in prefill.

use super::declare::op;
use crate::program::SdpaProgram;
use crate::{ComputeKernel, MemoryConfig, Ref, Scalar};

op! {
    /// `ttnn.transformer.scaled_dot_product_attention` with `is_causal=True` (prefill).
    Sdpa = "transformer.scaled_dot_product_attention" -> 1 {
        /// `[1,H,S,D]`.
        q: Ref [reads Queries],
        /// `[1,Hkv,S,D]`.
        k: Ref [reads Keys],
        /// `[1,Hkv,S,D]`.
        v: Ref [reads Values],
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
