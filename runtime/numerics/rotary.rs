//! Rotary position embedding.
//!
//! `rotary_embedding_llama` rotates adjacent pairs, `rotary_embedding_hf` the two halves of a head. cos and sin
//! have one value per element of the head, in the same order (adjacent pairs repeat, or the halves do). Products
//! and the sum are f32 and rounded once; the device multiplies on its FPU at the fidelity given and keeps bf16
//! between its steps, so its result may differ by two bf16 units.

use crate::element::Element;
use crate::error::{NumericsError, check_dim, check_multiple};

/// Which elements turn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// (0, 1), (2, 3), ...: Meta's order.
    Adjacent,
    /// (0, d/2), (1, d/2 + 1), ...: Hugging Face's order.
    Halves,
}

/// Rotates every head of x, shape [heads, cos.len()], at one position.
///
/// # Errors
/// [`NumericsError::Multiple`] if the head dimension is odd or does not divide x, [`NumericsError::Dimension`] if
/// sin or out do not match.
pub fn rotary<I: Element, C: Element, O: Element>(
    pairing: Pairing,
    x: &[I],
    cos: &[C],
    sin: &[C],
    out: &mut [O],
) -> Result<(), NumericsError> {
    let dim = cos.len();
    check_multiple("head dimension", dim, 2)?;
    check_multiple("elements to rotate", x.len(), dim)?;
    check_dim("sines", sin.len(), dim)?;
    check_dim("output elements", out.len(), x.len())?;
    for (x, out) in x.chunks_exact(dim).zip(out.chunks_exact_mut(dim)) {
        for i in 0..dim / 2 {
            let (a, b) = match pairing {
                Pairing::Adjacent => (2 * i, 2 * i + 1),
                Pairing::Halves => (i, i + dim / 2),
            };
            let (xa, xb) = (x[a].get(), x[b].get());
            out[a] = O::put(xa * cos[a].get() - xb * sin[a].get());
            out[b] = O::put(xb * cos[b].get() + xa * sin[b].get());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_turn() {
        let (cos, sin) = ([0f32; 4], [1f32; 4]);
        let x = [1f32, 2.0, 3.0, 4.0];
        let mut out = [0f32; 4];
        rotary(Pairing::Adjacent, &x, &cos, &sin, &mut out).unwrap();
        assert_eq!(out, [-2.0, 1.0, -4.0, 3.0]);
        rotary(Pairing::Halves, &x, &cos, &sin, &mut out).unwrap();
        assert_eq!(out, [-3.0, -4.0, 1.0, 2.0]);
        assert!(rotary(Pairing::Halves, &x, &cos[..3], &sin[..3], &mut out).is_err());
        assert!(rotary(Pairing::Halves, &x, &cos, &sin[..2], &mut out).is_err());
    }
}
