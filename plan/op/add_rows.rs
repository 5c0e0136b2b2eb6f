//! Sum with rows that are multiplied by a number each.

use super::declare::op;
use crate::{Fingerprint, Ref, Scalar};

op! {
    /// `a += scale * max(factors, floor) * b`, in f32 and rounded once, by kernels of bitnetc's own, given to TT-NN by `ttnn.generic_op`.
    AddRows = "generic_op" -> 0 {
        /// bf16, width-sharded in L1.
        a: Ref [writes Tensor],
        /// f32, placed as `a` is.
        b: Ref [reads Tensor],
        /// `[1,1,B,1]` in f32, interleaved.
        factors: Ref [reads Tensor],
        /// Least factor.
        floor: Scalar,
        /// Multiplies all rows.
        scale: Scalar,
        /// The kernels.
        kernels: Fingerprint,
    }
}
