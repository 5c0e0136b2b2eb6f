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
use crate::simd::{Loop, vectorised};

/// A function of one element, as it may stand in a chain of activations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Function {
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
    /// x to a power above 0: of the squares of x, those that the power's bits ask for are multiplied, the lowest first.
    Power(u32),
}

impl Function {
    /// The function's value, in f32.
    #[inline(always)]
    pub fn apply(self, x: f32) -> f32 {
        let mut value = [x];
        self.apply_all(&mut value);
        value[0]
    }

    /// Applies the function to every value: one loop per function, without a branch in it.
    #[inline(always)]
    pub(crate) fn apply_all(self, values: &mut [f32]) {
        #[inline(always)]
        fn each(values: &mut [f32], f: impl Fn(f32) -> f32) {
            values.iter_mut().for_each(|v| *v = f(*v));
        }
        match self {
            Function::Relu => each(values, |x| x.max(0.0)),
            Function::Square => each(values, |x| x * x),
            Function::Silu => each(values, |x| x / (1.0 + exp(-x))),
            Function::Recip => each(values, |x| 1.0 / x),
            Function::Mul(c) => each(values, |x| x * c),
            Function::Maximum(c) => each(values, |x| x.max(c)),
            Function::Round => each(values, round_half_even),
            Function::Clamp(low, high) => each(values, |x| x.max(low).min(high)),
            Function::Abs => each(values, f32::abs),
            Function::Power(power) => each(values, |x| to_power(x, power)),
        }
    }
}

/// `round_ties_even` without a call: adding 2^23 leaves no bits for a fraction. Larger numbers have none.
#[inline(always)]
fn round_half_even(x: f32) -> f32 {
    const NO_FRACTION: f32 = 8_388_608.0;
    let magnitude = x.abs();
    let rounded = (magnitude + NO_FRACTION) - NO_FRACTION;
    (if magnitude < NO_FRACTION { rounded } else { magnitude }).copysign(x)
}

#[inline(always)]
fn to_power(mut x: f32, mut power: u32) -> f32 {
    let mut result = 1.0;
    while power > 0 {
        if power & 1 == 1 {
            result *= x;
        }
        x *= x;
        power >>= 1;
    }
    result
}

/// A function of two elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    /// a + b.
    Add,
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
    pub a: &'a [Function],
    /// To the second operand.
    pub b: &'a [Function],
    /// To the result.
    pub out: &'a [Function],
}

/// Elements worth a task of their own.
const CHUNK: usize = 16 * 1024;
/// Elements that pass through the functions together: they stay in the first-level cache.
const BLOCK: usize = 512;

#[inline(always)]
fn load<I: Element>(x: &[I], values: &mut [f32]) {
    values.iter_mut().zip(x).for_each(|(v, x)| *v = x.get());
}

#[inline(always)]
fn store<O: Element>(values: &[f32], out: &mut [O]) {
    out.iter_mut().zip(values).for_each(|(o, &v)| *o = O::put(v));
}

#[inline(always)]
fn apply_chain(functions: &[Function], values: &mut [f32]) {
    functions.iter().for_each(|f| f.apply_all(values));
}

/// out = chain(x), elementwise.
///
/// # Errors
/// [`NumericsError::Dimension`] if the slices differ in length.
pub fn unary<I: Element, O: Element>(functions: &[Function], x: &[I], out: &mut [O]) -> Result<(), NumericsError> {
    check_dim("output elements", out.len(), x.len())?;
    let part = |(out, x)| vectorised(UnaryPart { functions, x, out });
    if out.len() <= CHUNK {
        part((out, x));
    } else {
        out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(part);
    }
    Ok(())
}

struct UnaryPart<'a, I, O> {
    functions: &'a [Function],
    x: &'a [I],
    out: &'a mut [O],
}

impl<I: Element, O: Element> Loop for UnaryPart<'_, I, O> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let mut buffer = [0f32; BLOCK];
        for (out, x) in self.out.chunks_mut(BLOCK).zip(self.x.chunks(BLOCK)) {
            let values = &mut buffer[..x.len()];
            load(x, values);
            apply_chain(self.functions, values);
            store(values, out);
        }
    }
}

/// The condition on the elements of `[a, b, out]`: whole rows of `cols`, and of b as many as `broadcast` takes.
///
/// # Errors
/// [`NumericsError::Multiple`] if `cols` does not divide a, [`NumericsError::Dimension`] if b or out do not match.
pub(crate) fn check_operands(
    [a, b, out]: [usize; 3],
    (broadcast, cols): (Broadcast, usize),
) -> Result<(), NumericsError> {
    check_dim("output elements", out, a)?;
    check_multiple("elements of the first operand", a, cols)?;
    let want = match broadcast {
        Broadcast::None => a,
        Broadcast::Column => a / cols,
        Broadcast::Row => cols,
    };
    check_dim("elements of the second operand", b, want)
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
    check_operands([a.len(), b.len(), out.len()], (broadcast, cols))?;
    let rows_per_task = (CHUNK / cols).max(1);
    let rows = |first: usize, out: &mut [O], a: &[A]| {
        let b = match broadcast {
            Broadcast::None => &b[first * cols..first * cols + a.len()],
            Broadcast::Column => &b[first..first + a.len() / cols],
            Broadcast::Row => b,
        };
        vectorised(BinaryPart { op, a, b, broadcast, cols, chains, out });
    };
    if out.len() <= CHUNK {
        rows(0, out, a);
    } else {
        let chunk = rows_per_task * cols;
        let tasks = out.par_chunks_mut(chunk).zip(a.par_chunks(chunk)).enumerate();
        tasks.for_each(|(task, (out, a))| rows(task * rows_per_task, out, a));
    }
    Ok(())
}

/// Some rows of a binary operation.
struct BinaryPart<'a, A, B, O> {
    op: Binary,
    a: &'a [A],
    b: &'a [B],
    broadcast: Broadcast,
    cols: usize,
    chains: Chains<'a>,
    out: &'a mut [O],
}

impl<A: Element, B: Element, O: Element> Loop for BinaryPart<'_, A, B, O> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let cols = self.cols;
        let (mut left, mut right) = ([0f32; BLOCK], [0f32; BLOCK]);
        for (row, (out, a)) in self.out.chunks_mut(cols).zip(self.a.chunks(cols)).enumerate() {
            let b = match self.broadcast {
                Broadcast::None => &self.b[row * cols..(row + 1) * cols],
                Broadcast::Row => self.b,
                Broadcast::Column => {
                    right = [self.b[row].get(); BLOCK];
                    apply_chain(self.chains.b, &mut right);
                    &[]
                }
            };
            for (block, (out, a)) in out.chunks_mut(BLOCK).zip(a.chunks(BLOCK)).enumerate() {
                let (x, y) = (&mut left[..a.len()], &mut right[..a.len()]);
                load(a, x);
                apply_chain(self.chains.a, x);
                if self.broadcast != Broadcast::Column {
                    load(&b[block * BLOCK..], y);
                    apply_chain(self.chains.b, y);
                }
                match self.op {
                    Binary::Add => x.iter_mut().zip(y).for_each(|(x, y)| *x += *y),
                    Binary::Mul => x.iter_mut().zip(y).for_each(|(x, y)| *x *= *y),
                }
                apply_chain(self.chains.out, x);
                store(x, out);
            }
        }
    }
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
            b: &[Function::Maximum(1e-5), Function::Recip, Function::Mul(127.0)],
            out: &[Function::Round, Function::Clamp(-128.0, 127.0)],
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
        let chains = Chains { a: &[Function::Relu, Function::Square], ..Chains::default() };
        binary(Binary::Mul, &gate, &up, (Broadcast::None, 3), chains, &mut out).unwrap();
        assert_eq!(out, [0.0, 45.0, -1.5]);
    }

    #[test]
    fn long_rows_and_many_are_cut_without_a_seam() {
        let (rows, cols) = (23, 1500);
        let a: Vec<f32> = (0..rows * cols).map(|i| (i % 1013) as f32 - 500.0).collect();
        let b: Vec<f32> = (0..rows * cols).map(|i| (i % 719) as f32).collect();
        let mut out = vec![0f32; rows * cols];
        let chains = Chains { b: &[Function::Square], out: &[Function::Relu], ..Chains::default() };
        binary(Binary::Add, &a, &b, (Broadcast::None, cols), chains, &mut out).unwrap();
        assert!(out.iter().zip(a.iter().zip(&b)).all(|(o, (a, b))| *o == (a + b * b).max(0.0)));
        binary(Binary::Mul, &a, &b[..rows], (Broadcast::Column, cols), Chains::default(), &mut out).unwrap();
        assert!(out.iter().enumerate().all(|(i, o)| *o == a[i] * b[i / cols]));
        unary(&[Function::Abs], &a, &mut out).unwrap();
        assert!(out.iter().zip(&a).all(|(o, a)| *o == a.abs()));
    }

    #[test]
    fn a_column_or_a_row_broadcasts_and_bad_shapes_do_not() {
        let a = [1f32, 2.0, 3.0, 4.0];
        let mut out = [0f32; 4];
        let none = Chains::default();
        binary(Binary::Add, &a, &[1f32, 10.0], (Broadcast::Column, 2), none, &mut out).unwrap();
        assert_eq!(out, [2.0, 3.0, 13.0, 14.0]);
        binary(Binary::Add, &a, &[1f32, 10.0], (Broadcast::Row, 2), none, &mut out).unwrap();
        assert_eq!(out, [2.0, 12.0, 4.0, 14.0]);
        assert!(binary(Binary::Add, &a, &a, (Broadcast::Row, 2), none, &mut out).is_err());
        assert!(binary(Binary::Add, &a, &a, (Broadcast::Column, 2), none, &mut out).is_err());
        assert!(binary(Binary::Add, &a, &a, (Broadcast::None, 3), none, &mut out).is_err());
        assert!(unary(&[Function::Relu], &a, &mut [0f32; 3]).is_err());
    }

    #[test]
    fn round_is_half_to_even_and_silu_is_silu() {
        assert_eq!(Function::Round.apply(2.5), 2.0);
        assert_eq!(Function::Round.apply(-3.5), -4.0);
        for bits in (0..u32::MAX).step_by(65_537) {
            let x = f32::from_bits(bits);
            let (got, want) = (Function::Round.apply(x), x.round_ties_even());
            assert!(got.to_bits() == want.to_bits() || (x.is_nan() && got.is_nan()), "{x}: {got} {want}");
        }
        assert!((Function::Silu.apply(1.0) - 0.731_058_6).abs() < 1e-6);
    }
}
