//! Matrix product by ternary weights of two bits.

use super::Matmul;
use super::declare::op;
use crate::program::TernaryProgram;
use crate::{ComputeKernel, DType, MatmulProgram, MemoryConfig, Ref};

op! {
    /// `a @ b` by kernels of bitnetc's own, given to TT-NN by `ttnn.generic_op`: `[1,1,32,K] @ [1,1,K,N]`.
    ///
    /// The cores of the result compute it, each the columns of its shard: other cores send it their codes from DRAM and all activations, and it
    /// keeps the sums in the destination register up to the last tile of K. So it has the bits of `ttnn.linear` with one K-block.
    TernaryLinear = "generic_op" -> 1 {
        /// Activations, width-sharded in L1.
        a: Ref [reads Tensor],
        /// Weights of [`DType::Bfp2`], `[K, N]`.
        b: Ref [reads Matrix],
        /// How it is cut.
        program: TernaryProgram,
        /// Compute kernel config; there are no partial sums for the packer to add.
        compute: ComputeKernel,
        /// Data type of the result.
        dtype: DType,
        /// Placement of the result.
        memory: MemoryConfig,
    }
}

impl TernaryLinear {
    /// The call of `ttnn.linear` whose result has the same bits where its operands have: one K-block of `inner` tiles.
    pub fn linear(&self, inner: u32) -> Matmul {
        let columns = self.memory.shard().map_or(1, |[_, width]| width / crate::TILE);
        let program = MatmulProgram::Multicast1D {
            grid: (1, 1),
            in0_block_w: inner,
            out_subblock: (1, columns),
            per_core_m: 1,
            per_core_n: columns,
            activation: self.program.activation,
        };
        let (a, b, memory) = (self.a.clone(), self.b.clone(), self.memory.clone());
        Matmul { a, b, program, compute: self.compute, dtype: self.dtype, memory }
    }
}
