//! Sums with rows that are multiplied by a number each: `cpp/kernels/add_rows`.
//!
//! The vector unit multiplies and adds in f32, each rounded to nearest even, and the packer makes bf16 of the sum.

use half::bf16;

use super::fpu::rna;
use crate::error::{NumericsError, check_dim, check_multiple};
use crate::rounding::{bf16_host, widen};

/// out = round(a + scale * max(factor, floor) * b) of rows of `columns`, each with its factor.
///
/// # Errors
/// [`NumericsError::Multiple`] if `columns` does not divide a, [`NumericsError::Dimension`] if the others do not match it.
pub fn add_rows(
    (a, b, columns): (&[bf16], &[f32], usize),
    (factors, [floor, scale]): (&[f32], [f32; 2]),
    round: impl Fn(f32) -> bf16,
    out: &mut [bf16],
) -> Result<(), NumericsError> {
    check_multiple("elements of the first operand", a.len(), columns)?;
    check_dim("elements of the second operand", b.len(), a.len())?;
    check_dim("factors", factors.len(), a.len() / columns)?;
    check_dim("output elements", out.len(), a.len())?;
    let rows = out.chunks_mut(columns).zip(a.chunks(columns)).zip(b.chunks(columns)).zip(factors);
    for (((out, a), b), factor) in rows {
        let factor = factor.max(floor) * scale;
        for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
            *out = round(widen(*a) + b * factor);
        }
    }
    Ok(())
}

/// What the packer makes of an fp32 register: half away from zero.
pub fn packed(x: f32) -> bf16 {
    bf16_host(rna(x))
}
