//! Absolute value.

use super::declare::op;
use crate::{MemoryConfig, Ref};

op! {
    /// `ttnn.abs`.
    AbsOp = "abs" -> 1 {
        /// The tensor.
        input: Ref [reads Tensor],
        /// Placement of the result.
        memory: MemoryConfig,
    }
}
