//! Rotary position embedding.
//!
//! `rotary_embedding_llama` rotates adjacent pairs. cos and sin have one value per element of the head, those of a pair equal. Products
//! and the sum are f32 and rounded once; the device multiplies on its FPU at the fidelity given and keeps bf16
//! between its steps, so its result may differ by two bf16 units.

use crate::element::Element;
use crate::error::{NumericsError, check_dim, check_multiple};
use crate::simd::{Loop, vectorised};

/// Rotates the pairs (0, 1), (2, 3), ... of every head of x, shape [heads, cos.len()], at one position.
///
/// # Errors
/// [`NumericsError::Multiple`] if the head dimension is odd or does not divide x, [`NumericsError::Dimension`] if
/// sin or out do not match.
pub fn rotary<I: Element, C: Element, O: Element>(
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
    vectorised(Heads { x, cos, sin, out });
    Ok(())
}

struct Heads<'a, I, C, O> {
    x: &'a [I],
    cos: &'a [C],
    sin: &'a [C],
    out: &'a mut [O],
}

impl<I: Element, C: Element, O: Element> Loop for Heads<'_, I, C, O> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let dim = self.cos.len();
        for (x, out) in self.x.chunks_exact(dim).zip(self.out.chunks_exact_mut(dim)) {
            adjacent(x, self.cos, self.sin, out);
        }
    }
}

#[inline(always)]
fn adjacent<I: Element, C: Element, O: Element>(x: &[I], cos: &[C], sin: &[C], out: &mut [O]) {
    let tables = cos.as_chunks::<2>().0.iter().zip(sin.as_chunks::<2>().0);
    for ((o, x), (c, s)) in out.as_chunks_mut::<2>().0.iter_mut().zip(x.as_chunks::<2>().0).zip(tables) {
        let (a, b) = (x[0].get(), x[1].get());
        *o = [O::put(a * c[0].get() - b * s[0].get()), O::put(b * c[1].get() + a * s[1].get())];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_turn() {
        let (cos, sin) = ([0f32; 4], [1f32; 4]);
        let x = [1f32, 2.0, 3.0, 4.0];
        let mut out = [0f32; 4];
        rotary(&x, &cos, &sin, &mut out).unwrap();
        assert_eq!(out, [-2.0, 1.0, -4.0, 3.0]);
        assert!(rotary(&x, &cos[..3], &sin[..3], &mut out).is_err());
        assert!(rotary(&x, &cos, &sin[..2], &mut out).is_err());
    }
}
