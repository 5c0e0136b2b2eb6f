//! `add` and `mul` with fused functions: `eltwise/binary_ng`.
//!
//! With bf16 operands Dst is bf16. An operand with functions on it is copied to Dst, where each function stores by truncating (the reciprocal
//! and the square round first), and packed to a buffer of its own type. A sum is the FPU's (`eltwise_binary_no_bcast.cpp`), a product the
//! SFPU's, rounded to nearest even (`eltwise_binary_sfpu_no_bcast.cpp`). Where an operand is f32 Dst is fp32 and functions lose nothing;
//! there the product is the formula of [`crate::binary`] after [`unary_f32`]. Powers in a bf16 Dst, sums with an f32 operand
//! and an operand of one row were not compared with the kernels.

use half::bf16;

use super::fpu::{fadd_dst, rne, truncated};
use super::sfpu::{reciprocal_f32, silu};
use crate::elementwise::{Binary, Broadcast, Chains, Function, check_operands};
use crate::error::{NumericsError, check_dim};
use crate::mvmul::Arch;
use crate::rounding::{bf16_host, widen};
use crate::simd::{Loop, vectorised};

/// out = chain(op(chain(a), chain(b))) of bf16 operands, elementwise over a's shape [rows, cols].
///
/// # Errors
/// [`NumericsError::Multiple`] if `cols` does not divide a, [`NumericsError::Dimension`] if b or out do not match.
pub fn binary(
    op: Binary,
    a: &[bf16],
    b: &[bf16],
    (broadcast, cols): (Broadcast, usize),
    chains: Chains<'_>,
    arch: Arch,
    out: &mut [bf16],
) -> Result<(), NumericsError> {
    check_operands([a.len(), b.len(), out.len()], (broadcast, cols))?;
    for (row, (out, a)) in out.chunks_mut(cols).zip(a.chunks(cols)).enumerate() {
        let mut column = [bf16::ZERO; BLOCK];
        if broadcast == Broadcast::Column {
            column.fill(b[row]);
        }
        for (part, (out, a)) in out.chunks_mut(BLOCK).zip(a.chunks(BLOCK)).enumerate() {
            let b = match broadcast {
                Broadcast::None => &b[row * cols + part * BLOCK..][..a.len()],
                Broadcast::Column => &column[..a.len()],
                Broadcast::Row => &b[part * BLOCK..][..a.len()],
            };
            vectorised(Part { op, a, b, chains, arch, out });
        }
    }
    Ok(())
}

/// Functions on an operand of f32, whose Dst is fp32: they lose nothing, but a reciprocal may be off by the last bit.
///
/// # Errors
/// [`NumericsError::Dimension`] if out is not as long as x.
pub fn unary_f32(chain: &[Function], arch: Arch, x: &[f32], out: &mut [f32]) -> Result<(), NumericsError> {
    check_dim("output elements", out.len(), x.len())?;
    out.copy_from_slice(x);
    for function in chain {
        match function {
            Function::Recip => out.iter_mut().for_each(|v| *v = reciprocal_f32(*v, arch)),
            Function::Silu
            | Function::Square
            | Function::Relu
            | Function::Mul(_)
            | Function::Maximum(_)
            | Function::Round
            | Function::Clamp(..)
            | Function::Power(_)
            | Function::Abs => function.apply_all(out),
        }
    }
    Ok(())
}

/// Elements that pass through the functions together.
const BLOCK: usize = 256;

struct Part<'a> {
    op: Binary,
    a: &'a [bf16],
    b: &'a [bf16],
    chains: Chains<'a>,
    arch: Arch,
    out: &'a mut [bf16],
}

impl Loop for Part<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (mut a, mut b) = ([0f32; BLOCK], [0f32; BLOCK]);
        let (a, b) = (&mut a[..self.a.len()], &mut b[..self.a.len()]);
        a.iter_mut().zip(self.a).for_each(|(to, v)| *to = widen(*v));
        b.iter_mut().zip(self.b).for_each(|(to, v)| *to = widen(*v));
        apply(self.chains.a, self.arch, a);
        apply(self.chains.b, self.arch, b);
        match self.op {
            Binary::Add => a.iter_mut().zip(b).for_each(|(a, b)| *a = fadd_dst(*a, *b, false)),
            Binary::Mul => a.iter_mut().zip(b).for_each(|(a, b)| *a = rne(*a * *b)),
        }
        apply(self.chains.out, self.arch, a);
        self.out.iter_mut().zip(a).for_each(|(o, v)| *o = bf16_host(*v));
    }
}

/// Functions on a bf16 Dst.
#[inline(always)]
fn apply(chain: &[Function], arch: Arch, values: &mut [f32]) {
    for function in chain {
        match function {
            Function::Silu => values.iter_mut().for_each(|v| *v = silu(*v, arch)),
            Function::Recip | Function::Square | Function::Power(_) => {
                function.apply_all(values);
                values.iter_mut().for_each(|v| *v = rne(*v));
            }
            Function::Relu
            | Function::Mul(_)
            | Function::Maximum(_)
            | Function::Round
            | Function::Clamp(..)
            | Function::Abs => {
                function.apply_all(values);
                values.iter_mut().for_each(|v| *v = truncated(*v));
            }
        }
    }
}
