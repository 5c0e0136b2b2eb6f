//! TT-NN's compute kernels, bit for bit.
//!
//! The other routines of this crate compute an op's formula and round once. A card does more than that: the FPU adds after aligning to
//! 11 bits and multiplies in phases, the SFPU stores to a bf16 destination register by truncating, intermediate buffers in L1 have their own
//! formats. The routines here follow the kernels of TT-NN buffer by buffer; their results were compared with what those kernels
//! compute on Tenstorrent's functional simulator, and vectors recorded there are in `tests/vectors`.
//!
//! | op | routine | kernel |
//! |---|---|---|
//! | add, mul with fused functions | [`binary`] | `eltwise/binary_ng`, `eltwise_binary_no_bcast.cpp` and `eltwise_binary_sfpu_no_bcast.cpp` |
//! | `rms_norm` | [`rms_norm`] | `normalization/layernorm`, `layernorm.cpp` and `layernorm_sharded.cpp` |
//! | `rotary_embedding_llama`, its fused and decode forms | [`rotary`] | `rotary_embedding_llama.cpp`, `rotary_embedding_llama_sharded.cpp` |
//! | `typecast` to a block format | [`typecast`] | `copy/typecast`, `eltwise_typecast.cpp` |
//! | `chunked_scaled_dot_product_attention` | [`sdpa_prefill`] | `transformer/sdpa`, `compute_streaming.hpp` (bf16 Dst) and `compute_common.hpp` (fp32 Dst) |
//! | `paged_scaled_dot_product_attention_decode` | [`sdpa_decode`] | `transformer/sdpa_decode`, `sdpa_flash_decode.cpp` |
//!
//! Terms: RNE rounds to nearest, ties to even; RNA to nearest, ties away from zero (the packer); a bf16 or fp32 Dst is the destination
//! register's format (`fp32_dest_acc_en`). Zeros have no reliable sign.
//!
//! [`Known`] says for an op's arguments whether the bits are known to be the kernels'. Where they are not, the same rules are applied as the
//! closest there is.

mod add_rows;
mod binary;
mod flash;
mod fma;
mod fpu;
mod rms_norm;
mod rotary;
mod sdpa_decode;
mod sdpa_prefill;
mod sfpu;
mod typecast;

pub use add_rows::{add_rows, packed};
pub use binary::{binary, unary_f32};
pub use rms_norm::{NormProgram, rms_norm, rms_norm_known};
pub use rotary::{rotary, rotary_known};
pub use sdpa_decode::{DecodeSoftmax, sdpa_decode, sdpa_decode_known};
pub use sdpa_prefill::{PrefillSoftmax, sdpa_prefill, sdpa_prefill_known};
pub use typecast::typecast;

use crate::lanes::{Accumulation, Operand};
use crate::mvmul::{Arch, Fidelity};

/// The parts of an op's compute configuration that decide its bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compute {
    /// The chip.
    pub arch: Arch,
    /// Phases of a product on the FPU.
    pub fidelity: Fidelity,
    /// `fp32_dest_acc_en`: whether Dst holds fp32 or bf16.
    pub fp32_dest: bool,
}

impl Compute {
    pub(crate) fn accumulation(self) -> Accumulation {
        let Compute { arch, fidelity, fp32_dest } = self;
        Accumulation { phases: fidelity.phases(), fp32_dest, arch, tile: Operand::SrcA }
    }
}

/// Whether an op's result is known to have the kernel's bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It was compared with the kernel's results for arguments of this kind.
    Exact,
    /// It was not; the reason, as a clause.
    Unknown(&'static str),
}
