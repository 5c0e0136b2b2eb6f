//! Column of the largest element of each row: the next token.

use super::declare::op;
use crate::Ref;

op! {
    /// `ttnn.argmax` over the last dimension into a persistent buffer (`output_tensor`), which the next step's embedding reads.
    ArgMax = "argmax" -> 0 {
        /// `[1,1,B,V]` row-major.
        input: Ref [reads Logits],
        /// `[1,1,B]` u32.
        output: Ref [writes NextToken],
    }
}
