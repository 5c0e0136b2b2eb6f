//! Counts a position on.

use super::declare::op;
use crate::Ref;

op! {
    /// `ttnn.plus_one` of a persistent buffer, in place.
    PlusOne = "plus_one" -> 0 {
        /// i32 or u32, row-major.
        buffer: Ref [writes Counter],
    }
}
