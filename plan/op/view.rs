//! The same bytes under another shape.

use super::declare::op;
use crate::Ref;

op! {
    /// `ttnn.reshape` that leaves every byte where it is: the result takes over the input's buffer, and the input may not be used again.
    View = "reshape" -> 1 {
        /// The tensor.
        input: Ref [renames Moved],
        /// New logical shape; its padded shape has the input's padded volume.
        shape: Vec<u32>,
    }
}
