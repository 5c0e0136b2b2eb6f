//! Counts a position on.

use super::declare::op;
use crate::Ref;

op! {
    /// `ttnn.plus_one` of a persistent buffer, in place.
    PlusOne = "plus_one" -> 0 {
        /// i32 or u32, row-major.
        buffer: Ref [writes Counter],
        /// `skip_negative_entries`: a negative number stays what it is. A user at -1 is idle, and stays so.
        skip_negative: bool,
    }
}
