//! Largest element of each row.

use super::declare::op;
use crate::{MemoryConfig, Ref};

op! {
    /// `ttnn.max` over the last dimension, kept as length 1.
    RowMax = "max" -> 1 {
        /// The tensor.
        input: Ref [reads Tensor],
        /// Placement of the result.
        memory: MemoryConfig,
    }
}
