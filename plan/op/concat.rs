//! Tensors set side by side as columns.

use super::declare::op;
use crate::{MemoryConfig, Ref};

op! {
    /// `ttnn.concat` along the last dimension.
    Concat = "concat" -> 1 {
        /// The tensors, left to right.
        inputs: Vec<Ref> [reads Part],
        /// Placement of the result.
        memory: MemoryConfig,
    }
}
