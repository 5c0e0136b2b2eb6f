//! Frees a value.

use super::declare::op;
use crate::Ref;

op! {
    /// `ttnn.deallocate`.
    Deallocate = "deallocate" -> 0 {
        /// The value that ends here.
        input: Ref [frees Tensor],
    }
}
