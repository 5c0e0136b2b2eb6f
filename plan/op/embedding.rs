//! Rows of a table, looked up by number.

use super::declare::op;
use crate::{Layout, MemoryConfig, Ref};

op! {
    /// `ttnn.embedding`: rows of `table` `[1,1,V,D]` at `indices` `[..,N]` (u32, row-major) -> `[..,N,D]`, rank 3.
    Embedding = "embedding" -> 1 {
        /// Row numbers.
        indices: Ref [reads Indices],
        /// The rows.
        table: Ref [reads Table],
        /// Layout of the result.
        layout: Layout,
        /// Placement of the result.
        memory: MemoryConfig,
    }
}
