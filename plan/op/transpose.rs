//! Two dimensions exchanged.

use super::declare::op;
use crate::{MemoryConfig, Ref};

op! {
    /// `ttnn.transpose` of two dimensions.
    Transpose = "transpose" -> 1 {
        /// The tensor.
        input: Ref [reads Moved],
        /// The dimensions that change places.
        dims: (u32, u32),
        /// Placement of the result.
        memory: MemoryConfig,
    }
}
