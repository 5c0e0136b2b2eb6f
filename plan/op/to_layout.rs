//! The same tensor as tiles, or row by row.

use super::declare::op;
use crate::{Layout, MemoryConfig, Ref};

op! {
    /// `ttnn.to_layout`.
    ToLayout = "to_layout" -> 1 {
        /// The tensor.
        input: Ref [reads Moved],
        /// Its new layout.
        layout: Layout,
        /// Placement of the result.
        memory: MemoryConfig,
    }
}
