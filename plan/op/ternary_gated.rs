//! Gate and up of an MLP by ternary weights of two bits.

use super::declare::op;
use super::{Binary, BinaryKind, Destination, TernaryLinear};
use crate::program::{FusedActivation, TernaryProgram};
use crate::{ComputeKernel, DType, MemoryConfig, Ref, Unary};

op! {
    /// `relu(a @ gate)^2 * (a @ up)` in one program of bitnetc's own kernels: `[1,1,32,K]`, `[1,1,K,N]`, `[1,1,K,N]` -> `[1,1,32,N]`, bf16.
    ///
    /// It is [`TernaryLinear`] twice, with one sending of the activations, and the product is made where the sums are: in the destination
    /// register, which holds bf16. So it has the bits of the calls of [`TernaryGated::apart`].
    TernaryGated = "generic_op" -> 1 {
        /// Activations, width-sharded in L1.
        a: Ref [reads Tensor],
        /// Weights of [`DType::Bfp2`], `[K, N]`, whose product is squared where it is above 0.
        gate: Ref [reads Matrix],
        /// Weights of [`DType::Bfp2`], `[K, N]`.
        up: Ref [reads Matrix],
        /// How it is cut; its activation is none.
        program: TernaryProgram,
        /// Compute kernel config, with bf16 sums; there are no partial sums for the packer to add.
        compute: ComputeKernel,
        /// Placement of the result.
        memory: MemoryConfig,
    }
}

impl TernaryGated {
    /// The calls that compute the same bits one after another: gate, up, and the product of their results.
    pub fn apart(&self) -> (TernaryLinear, TernaryLinear, Binary) {
        let product = |b: &Ref, activation| TernaryLinear {
            a: self.a.clone(),
            b: b.clone(),
            program: TernaryProgram { activation, ..self.program },
            compute: self.compute,
            dtype: DType::Bf16,
            memory: self.memory.clone(),
        };
        let gated = Binary {
            kind: BinaryKind::Mul,
            a: self.gate.clone(),
            b: self.up.clone(),
            a_activations: vec![Unary::Square],
            b_activations: Vec::new(),
            activations: Vec::new(),
            dtype: DType::Bf16,
            into: Destination::New(self.memory.clone()),
        };
        (product(&self.gate, Some(FusedActivation::Relu)), product(&self.up, None), gated)
    }
}
