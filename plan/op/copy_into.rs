//! A tensor copied into a persistent buffer.

use super::declare::op;
use crate::Ref;

op! {
    /// `ttnn.copy`: the tokens that steps have computed become those that the next step reads.
    CopyInto = "copy" -> 0 {
        /// Tokens.
        input: Ref [reads Tensor],
        /// Receives them.
        output: Ref [writes NextToken],
    }
}
