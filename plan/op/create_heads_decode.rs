//! The fused projection of decode, cut into heads.

use super::declare::op;
use crate::{MemoryConfig, Ref};

op! {
    /// `ttnn.experimental.nlp_create_qkv_heads_decode`: `[1,1,B,(H+2*Hkv)*D]` -> q `[1,B,H,D]`, k and v `[1,B,Hkv,D]`, one user per core.
    CreateHeadsDecode = "experimental.nlp_create_qkv_heads_decode" -> 3 {
        /// Fused projection: all q heads, all k heads, all v heads.
        input: Ref [reads Projection],
        /// Query heads.
        heads: u32,
        /// Key and value heads.
        kv_heads: u32,
        /// `overlap_qk_coregrid`: k on the cores of q and v; otherwise on the next ones.
        overlap: bool,
        /// The height-sharded config passed to TT-NN: it fixes the shard, `[32, D]`, and the grid from which TT-NN takes cores.
        memory: MemoryConfig,
    }
}
