//! Rows as integers.

use super::declare::op;
use crate::{Fingerprint, Ref, Scalar};

op! {
    /// `[1,1,B,N]` as integers from -128 to 127, which 127 over the row's largest magnitude makes of it, and these magnitudes, `[1,1,B,1]` in
    /// f32: by kernels of bitnetc's own, given to TT-NN by `ttnn.generic_op`.
    ///
    /// Each core finds the largest magnitudes of its shard, the first core those of all, and then each its integers. They have the bits of
    /// `ttnn.mul` by f32 maxima.
    QuantizeRows = "generic_op" -> 2 {
        /// bf16, width-sharded in L1; the integers lie as it does.
        input: Ref [reads Tensor],
        /// Least magnitude that is divided by.
        floor: Scalar,
        /// The kernels.
        kernels: Fingerprint,
    }
}
