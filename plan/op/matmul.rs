//! Matrix product.

use super::declare::op;
use crate::{ComputeKernel, DType, MatmulProgram, MemoryConfig, Ref};

op! {
    /// `ttnn.linear` without bias: `a @ b`, `[1,1,M,K] @ [1,1,K,N]`.
    Matmul = "linear" -> 1 {
        /// Activations.
        a: Ref [reads Tensor],
        /// Weights, `[K, N]`.
        b: Ref [reads Matrix],
        /// How it is cut over cores.
        program: MatmulProgram,
        /// Compute kernel config.
        compute: ComputeKernel,
        /// Data type of the result.
        dtype: DType,
        /// Placement of the result: its real one, shard spec included (TT-NN derives it from the program config).
        memory: MemoryConfig,
    }
}
