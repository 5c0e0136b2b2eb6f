//! The largest elements of each row.

use super::declare::op;
use crate::{MemoryConfig, Ref};

op! {
    /// `ttnn.topk` over the last dimension, `[1,1,B,V]` -> values `[1,1,B,k]`, largest first, and their columns `[1,1,B,k]`: u16 up to a
    /// width of 65,536, u32 above. Equal values are in no certain order.
    TopK = "topk" -> 2 {
        /// Logits, tiled.
        input: Ref [reads Logits],
        /// Elements of each row.
        k: u32,
        /// Placement of both results.
        memory: MemoryConfig,
    }
}
