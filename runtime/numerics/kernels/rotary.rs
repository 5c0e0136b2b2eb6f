//! Rotary embedding: `rotary_embedding_llama.cpp` and `rotary_embedding_llama_sharded.cpp` (prefill, decode, fused q and k).
//!
//! The kernel rotates the pairs by a matmul, multiplies by cos and sin and adds; each of the three results is packed to bf16.

use half::bf16;

use super::fpu::{fadd_dst, fmul, rna};
use super::{Compute, Known};
use crate::error::{NumericsError, check_dim, check_multiple};
use crate::mvmul::Fidelity;
use crate::rounding::{bf16_packed, widen};

/// Whether [`rotary`] has the kernel's bits.
pub fn rotary_known(how: Compute) -> Known {
    match (how.fidelity, how.fp32_dest) {
        (Fidelity::HiFi4, true) => Known::Exact,
        _ => Known::Unknown("rotary embedding was compared at HiFi4 with an fp32 destination register only"),
    }
}

/// Rotates the pairs (0, 1), (2, 3), ... of every head of x, shape [heads, cos.len()], at one position.
///
/// # Errors
/// [`NumericsError::Multiple`] if the head dimension is odd or does not divide x, [`NumericsError::Dimension`] if
/// sin or out do not match.
pub fn rotary(x: &[bf16], cos: &[bf16], sin: &[bf16], how: Compute, out: &mut [bf16]) -> Result<(), NumericsError> {
    let dim = cos.len();
    check_multiple("head dimension", dim, 2)?;
    check_multiple("elements to rotate", x.len(), dim)?;
    check_dim("sines", sin.len(), dim)?;
    check_dim("output elements", out.len(), x.len())?;
    const PART: usize = 64;
    let wide = |from: &[bf16]| {
        let mut to = [0f32; PART];
        to.iter_mut().zip(from).for_each(|(t, v)| *t = widen(*v));
        to
    };
    for (x, out) in x.chunks_exact(dim).zip(out.chunks_exact_mut(dim)) {
        let parts = x.chunks(PART).zip(cos.chunks(PART)).zip(sin.chunks(PART)).zip(out.chunks_mut(PART));
        for (((x, cos), sin), out) in parts {
            let x = wide(x);
            let mut rotated = [0f32; PART];
            for (r, x) in rotated.as_chunks_mut::<2>().0.iter_mut().zip(x.as_chunks::<2>().0) {
                *r = [-x[1], x[0]];
            }
            let (mut a, mut b) = ([0f32; PART], [0f32; PART]);
            fmul(&x, &wide(cos), how, &mut a);
            fmul(&rotated, &wide(sin), how, &mut b);
            for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
                *o = bf16_packed(fadd_dst(rna(a), rna(b), how.fp32_dest).to_bits());
            }
        }
    }
    Ok(())
}
