//! The same tensor in another memory, or sharded in another way.

use super::declare::op;
use crate::{MemoryConfig, Ref};

op! {
    /// `ttnn.to_memory_config`: the same tensor elsewhere.
    ToMemoryConfig = "to_memory_config" -> 1 {
        /// The tensor.
        input: Ref [reads Moved],
        /// Its new placement.
        memory: MemoryConfig,
    }
}
