//! Column of the largest element of each row, as a tensor.

use super::declare::op;
use crate::{MemoryConfig, Ref};

op! {
    /// `ttnn.argmax` over the last dimension, `[1,1,B,N]` or `[1,B,N]` -> u32 of one dimension less. Of equal elements it is the first.
    BestColumn = "argmax" -> 1 {
        /// Row-major.
        input: Ref [reads Tensor],
        /// Placement of the result.
        memory: MemoryConfig,
    }
}
