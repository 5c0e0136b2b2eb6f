//! The fused projection of prefill, cut into heads.

use super::declare::op;
use crate::{MemoryConfig, Ref};

op! {
    /// `ttnn.experimental.nlp_create_qkv_heads` (prefill): `[1,1,S,(H+2*Hkv)*D]` -> q `[1,H,S,D]`, k and v `[1,Hkv,S,D]`.
    CreateHeads = "experimental.nlp_create_qkv_heads" -> 3 {
        /// Fused projection.
        input: Ref [reads Projection],
        /// Query heads.
        heads: u32,
        /// Key and value heads.
        kv_heads: u32,
        /// Placement of all three results.
        memory: MemoryConfig,
    }
}
