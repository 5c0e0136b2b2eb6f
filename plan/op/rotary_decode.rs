//! Rotary embedding of queries or of keys, in decode.

use super::declare::op;
use crate::{ComputeKernel, Ref};

op! {
    /// `ttnn.experimental.rotary_embedding_llama` with `is_decode_mode=True`: q or k alone, where it is.
    RotaryDecode = "experimental.rotary_embedding_llama" -> 1 {
        /// `[1,B,H,D]`, one user per core.
        input: Ref [reads Tensor],
        /// Cosines `[1,B,32,D]` on the cores of the input.
        cos: Ref [reads Cosines],
        /// Sines, likewise.
        sin: Ref [reads Sines],
        /// The pair-swapping matrix, once per core of the input.
        trans: Ref [reads Tensor],
        /// Compute kernel config.
        compute: ComputeKernel,
    }
}
