//! Some rows of a tensor, from a row that is a tensor itself.

use super::declare::op;
use crate::{MemoryConfig, Ref};

op! {
    /// `ttnn.slice` of as many rows (second-to-last dimension) as one of `parts` equal parts has. The rows start where `starts` says when
    /// the call runs, so that one program and one trace take them from anywhere.
    SliceAt = "slice" -> 1 {
        /// The tensor.
        input: Ref [reads Cut],
        /// `[4]` u32: the first index of each dimension; the row is a multiple of 32, the others are 0.
        starts: Ref [reads Starts],
        /// `[4]` u32: the index after the last of each dimension. TT-NN's kernel takes it and computes with `starts` alone.
        ends: Ref [reads Ends],
        /// How many times the result's rows the tensor has (TT-NN's `num_devices`).
        parts: u32,
        /// Placement of the result.
        memory: MemoryConfig,
    }
}
