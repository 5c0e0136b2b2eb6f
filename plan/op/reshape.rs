//! Rows cut or joined: the same elements under another shape.

use super::declare::op;
use crate::{MemoryConfig, Ref};

op! {
    /// `ttnn.reshape` of a row-major tensor, which copies: the elements keep their order, rows have another length.
    Reshape = "reshape" -> 1 {
        /// The tensor.
        input: Ref [reads Moved],
        /// Its new shape, of as many elements.
        shape: Vec<u32>,
        /// Placement of the result.
        memory: MemoryConfig,
    }
}
