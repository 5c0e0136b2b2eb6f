//! The same tensor in another data type.

use super::declare::op;
use crate::{DType, MemoryConfig, Ref};

op! {
    /// `ttnn.typecast`.
    Typecast = "typecast" -> 1 {
        /// The tensor.
        input: Ref [reads Moved],
        /// Its new data type.
        dtype: DType,
        /// Placement of the result.
        memory: MemoryConfig,
    }
}
