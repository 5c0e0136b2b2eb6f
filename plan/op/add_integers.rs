//! Sum of two rows of integers.

use super::declare::op;
use crate::{MemoryConfig, Ref};

op! {
    /// `ttnn.add` of two rows of u32. `ttnn.addalpha`, which would multiply one of them as well, does so in floats and returns the other as
    /// it is.
    AddIntegers = "add" -> 1 {
        /// One.
        a: Ref [reads Tensor],
        /// The other.
        b: Ref [reads Tensor],
        /// Placement of the result.
        memory: MemoryConfig,
    }
}
