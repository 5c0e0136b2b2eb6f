//! Elementwise operations with the activation chains TT-NN fuses into them.
//!
//! Everything between reading and writing is f32, and the result is rounded once, to nearest even. The device's
//! SFPU is f32 inside too, but flushes subnormals, approximates reciprocal and exp, and may truncate where it
//! stores to a bf16 Dst; its FPU add aligns to 10 bits and its FPU multiply depends on the fidelity. A device
//! result may therefore differ by one unit in the last place of bf16 per operation (FPU multiply below HiFi4: see
//! the fidelity). Rounding, clamping, maximum, absolute value, RELU and sums and products of small integers
//! are exact on both.

use rayon::prelude::*;

use crate::element::Element;
use crate::error::{NumericsError, check_dim, check_multiple};
use crate::exp::exp;

/// A function of one element, as it may stand in a chain of activations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unary {
    /// max(x, 0).
    Relu,
    /// x * x.
    Square,
    /// x / (1 + e^-x).
    Silu,
    /// 1 / x.
    Recip,
    /// x * c.
    Mul(f32),
    /// max(x, c).
    Maximum(f32),
    /// To the nearest integer, ties to even.
    Round,
    /// min(max(x, low), high).
    Clamp(f32, f32),
    /// |x|.
    Abs,
}

impl Unary {
    /// The function's value, in f32.
    #[inline(always)]
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Unary::Relu => x.max(0.0),
            Unary::Square => x * x,
            Unary::Silu => x / (1.0 + exp(-x)),
            Unary::Recip => 1.0 / x,
            Unary::Mul(c) => x * c,
            Unary::Maximum(c) => x.max(c),
            Unary::Round => x.round_ties_even(),
            Unary::Clamp(low, high) => x.max(low).min(high),
            Unary::Abs => x.abs(),
        }
    }
}

/// A function of two elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    /// a + b.
    Add,
    /// a - b.
    Sub,
    /// a * b.
    Mul,
}

/// How the second operand meets the first, whose shape is [rows, cols].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broadcast {
    /// Shape [rows, cols].
    None,
    /// Shape [rows, 1]: one element per row.
    Column,
    /// Shape [1, cols]: one row for all.
    Row,
}

/// Chains applied to the operands before, and to the result after, a binary operation.
#[derive(Debug, Clone, Copy, Default)]
pub struct Chains<'a> {
    /// To the first operand.
    pub a: &'a [Unary],
    /// To the second operand.
    pub b: &'a [Unary],
    /// To the result.
    pub out: &'a [Unary],
}

/// Elements worth a task of their own.
const CHUNK: usize = 16 * 1024;

#[inline(always)]
fn chain(chain: &[Unary], x: f32) -> f32 {
    chain.iter().fold(x, |x, f| f.apply(x))
}

/// out = chain(x), elementwise.
///
/// # Errors
/// [`NumericsError::Dimension`] if the slices differ in length.
pub fn unary<I: Element, O: Element>(functions: &[Unary], x: &[I], out: &mut [O]) -> Result<(), NumericsError> {
    check_dim("output elements", out.len(), x.len())?;
    out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(out, x)| {
        for (o, &x) in out.iter_mut().zip(x) {
            *o = O::put(chain(functions, x.get()));
        }
    });
    Ok(())
}

/// out = chain(op(chain(a), chain(b))), elementwise over a's shape [rows, cols].
///
/// # Errors
/// [`NumericsError::Multiple`] if `cols` does not divide a, [`NumericsError::Dimension`] if b or out do not match.
pub fn binary<A: Element, B: Element, O: Element>(
    op: Binary,
    a: &[A],
    b: &[B],
    (broadcast, cols): (Broadcast, usize),
    chains: Chains<'_>,
    out: &mut [O],
) -> Result<(), NumericsError> {
    check_dim("output elements", out.len(), a.len())?;
    check_multiple("elements of the first operand", a.len(), cols)?;
    let want = match broadcast {
        Broadcast::None => a.len(),
        Broadcast::Column => a.len() / cols,
        Broadcast::Row => cols,
    };
    check_dim("elements of the second operand", b.len(), want)?;
    let element = |a: A, b: f32| {
        let a = chain(chains.a, a.get());
        let value = match op {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
        };
        O::put(chain(chains.out, value))
    };
    let rows_per_task = (CHUNK / cols).max(1);
    let chunk = rows_per_task * cols;
    out.par_chunks_mut(chunk).zip(a.par_chunks(chunk)).enumerate().for_each(|(task, (out, a))| {
        for (i, (out, a)) in out.chunks_mut(cols).zip(a.chunks(cols)).enumerate() {
            let row = task * rows_per_task + i;
            if broadcast == Broadcast::Column {
                let b = chain(chains.b, b[row].get());
                out.iter_mut().zip(a).for_each(|(o, &a)| *o = element(a, b));
            } else {
                let first = if broadcast == Broadcast::None { row * cols } else { 0 };
                for ((o, &a), &b) in out.iter_mut().zip(a).zip(&b[first..first + cols]) {
                    *o = element(a, chain(chains.b, b.get()));
                }
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;
    use crate::rounding::{bf16_host, widen};

    #[test]
    fn activation_quantisation_is_absmax_int8() {
        let x: Vec<bf16> = (0..64).map(|i| bf16_host((i as f32 - 40.0) * 0.37)).collect();
        let max: Vec<bf16> =
            x.chunks(32).map(|r| r.iter().fold(bf16::ZERO, |m, v| m.max(bf16_host(widen(*v).abs())))).collect();
        let mut q = vec![bf16::ZERO; 64];
        let chains = Chains {
            b: &[Unary::Maximum(1e-5), Unary::Recip, Unary::Mul(127.0)],
            out: &[Unary::Round, Unary::Clamp(-128.0, 127.0)],
            ..Chains::default()
        };
        binary(Binary::Mul, &x, &max, (Broadcast::Column, 32), chains, &mut q).unwrap();
        for (row, q) in q.chunks(32).enumerate() {
            assert!(q.iter().all(|v| widen(*v).fract() == 0.0));
            let largest = q.iter().fold(0f32, |m, v| m.max(widen(*v).abs()));
            assert_eq!(largest, 127.0, "row {row}");
        }
    }

    #[test]
    fn relu_squared_times_up() {
        let (gate, up) = ([-2f32, 3.0, 0.5], [4f32, 5.0, -6.0]);
        let mut out = [0f32; 3];
        let chains = Chains { a: &[Unary::Relu, Unary::Square], ..Chains::default() };
        binary(Binary::Mul, &gate, &up, (Broadcast::None, 3), chains, &mut out).unwrap();
        assert_eq!(out, [0.0, 45.0, -1.5]);
    }

    #[test]
    fn a_row_broadcasts_and_bad_shapes_do_not() {
        let a = [1f32, 2.0, 3.0, 4.0];
        let mut out = [0f32; 4];
        let none = Chains::default();
        binary(Binary::Sub, &a, &[1f32, 10.0], (Broadcast::Row, 2), none, &mut out).unwrap();
        assert_eq!(out, [0.0, -8.0, 2.0, -6.0]);
        assert!(binary(Binary::Add, &a, &a, (Broadcast::Row, 2), none, &mut out).is_err());
        assert!(binary(Binary::Add, &a, &a, (Broadcast::None, 3), none, &mut out).is_err());
        assert!(unary(&[Unary::Relu], &a, &mut [0f32; 3]).is_err());
    }

    #[test]
    fn round_is_half_to_even_and_silu_is_silu() {
        assert_eq!(Unary::Round.apply(2.5), 2.0);
        assert_eq!(Unary::Round.apply(-3.5), -4.0);
        assert!((Unary::Silu.apply(1.0) - 0.731_058_6).abs() < 1e-6);
    }
}
