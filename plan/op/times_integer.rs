//! Integers times a number.

use super::declare::op;
use crate::{MemoryConfig, Ref};

op! {
    /// `ttnn.multiply` of a row of u32 by a number.
    TimesInteger = "multiply" -> 1 {
        /// The integers: a value, or the numbers of the users.
        input: Ref [reads Integers],
        /// The number.
        factor: u32,
        /// Placement of the result.
        memory: MemoryConfig,
    }
}
