//! Rows of a tensor, looked up by numbers that were computed.

use super::declare::op;
use crate::{MemoryConfig, Ref};

op! {
    /// `ttnn.embedding` of a value: rows of `table` `[1,1,V,D]` at `indices` `[..,N]` (u32, row-major) -> row-major `[1,N,D]`.
    GatherRows = "embedding" -> 1 {
        /// Row numbers.
        indices: Ref [reads Tensor],
        /// The rows.
        table: Ref [reads Table],
        /// Placement of the result.
        memory: MemoryConfig,
    }
}
