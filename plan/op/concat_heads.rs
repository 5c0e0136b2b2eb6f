//! Heads set side by side as columns, in prefill.

use super::declare::op;
use crate::{MemoryConfig, Ref};

op! {
    /// `ttnn.experimental.nlp_concat_heads` (prefill): `[1,H,S,D]` -> `[1,1,S,H*D]`.
    ConcatHeads = "experimental.nlp_concat_heads" -> 1 {
        /// All heads.
        input: Ref [reads Tensor],
        /// Placement of the result.
        memory: MemoryConfig,
    }
}
