//! Root-mean-square norm.

use super::declare::op;
use crate::program::NormProgram;
use crate::{ComputeKernel, MemoryConfig, Ref, Scalar};

op! {
    /// `ttnn.rms_norm`: `x / sqrt(mean(x^2) + epsilon) * gamma` over the last dimension.
    RmsNorm = "rms_norm" -> 1 {
        /// `x`.
        input: Ref [reads Tensor],
        /// Per-column factors.
        gamma: Ref [reads Gamma],
        /// Added to the mean square.
        epsilon: Scalar,
        /// How the width is cut; `None` for an interleaved input.
        program: Option<NormProgram>,
        /// Compute kernel config.
        compute: ComputeKernel,
        /// Placement of the result.
        memory: MemoryConfig,
    }
}
