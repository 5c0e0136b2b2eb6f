//! Rotary embedding: `bitnetc_numerics` on host tensors.

use bitnetc_numerics as numerics;
use rayon::prelude::*;

use super::rows::settle;
use super::tensor::{Data, HostTensor};
use crate::DeviceError;

/// Prefill's rotary embedding: `[1, H, S, D]` by tables `[1, 1, S, D]`.
pub fn prefill(
    input: &HostTensor,
    cos: &HostTensor,
    sin: &HostTensor,
    out: &mut HostTensor,
) -> Result<(), DeviceError> {
    let rows = input.dim(2);
    rotate(input, 1, (cos, sin), rows, |row| row % rows, out)
}

/// Decode's: `[1, B, heads, D]` by tables `[1, 2B, rows, D]`, of which user `b` uses the first row of matrix `first + b`.
pub fn users(
    input: &HostTensor,
    first: usize,
    cos: &HostTensor,
    sin: &HostTensor,
    out: &mut HostTensor,
) -> Result<(), DeviceError> {
    let (users, heads, table_rows) = (input.dim(1), input.dim(2), cos.dim(2));
    rotate(input, 2, (cos, sin), (first + users) * table_rows, |row| (first + row / heads) * table_rows, out)
}

/// Decode's of q or k alone: `[1, B, heads, D]` by tables `[1, B, rows, D]`.
pub fn one(input: &HostTensor, cos: &HostTensor, sin: &HostTensor, out: &mut HostTensor) -> Result<(), DeviceError> {
    let (users, heads, table_rows) = (input.dim(1), input.dim(2), cos.dim(2));
    rotate(input, 1, (cos, sin), users * table_rows, |row| row / heads * table_rows, out)
}

fn rotate(
    input: &HostTensor,
    tables: usize,
    (cos, sin): (&HostTensor, &HostTensor),
    rows: usize,
    table_row: impl Fn(usize) -> usize + Sync,
    out: &mut HostTensor,
) -> Result<(), DeviceError> {
    let columns = input.columns();
    if out.spec.shape != input.spec.shape {
        return Err(input.unexpected(0, format!("shape {:?}", out.spec.shape)));
    }
    for (operand, table) in [(tables, cos), (tables + 1, sin)] {
        if table.rows() < rows || table.columns() != columns {
            return Err(table.unexpected(operand, format!("{rows} rows of {columns}")));
        }
    }
    let x = input.bf16(0)?;
    let (cos, sin) = (cos.bf16(tables)?, sin.bf16(tables + 1)?);
    let wrong = out.unexpected(tables + 2, "bf16");
    let Data::Bf16(to) = &mut out.data else { return Err(wrong) };
    to.par_chunks_mut(columns).with_min_len(64).enumerate().try_for_each(|(row, to)| {
        let at = table_row(row) * columns..(table_row(row) + 1) * columns;
        let x = &x[row * columns..(row + 1) * columns];
        numerics::rotary(x, &cos[at.clone()], &sin[at], to)
    })?;
    settle(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::{tensor, values};
    use bitnetc_plan::DType;

    #[test]
    fn decode_and_prefill_rotate_alike() {
        let (cos, sin) =
            (tensor(&[1, 1, 4, 2], DType::Bf16, &[0.5; 8]), tensor(&[1, 1, 4, 2], DType::Bf16, &[0.25; 8]));
        let x = tensor(&[1, 1, 4, 2], DType::Bf16, &[1., 2., 3., 4., 5., 6., 7., 8.]);
        let mut all = tensor(&[1, 1, 4, 2], DType::Bf16, &[]);
        prefill(&x, &cos, &sin, &mut all).unwrap();
        assert_eq!(values(&all)[..4], [0.0, 1.25, 0.5, 2.75]);
        let by_user = |t: &HostTensor| tensor(&[1, 4, 1, 2], DType::Bf16, &values(t));
        let q = tensor(&[1, 2, 1, 2], DType::Bf16, &values(&x)[4..]);
        let mut decode = tensor(&[1, 2, 1, 2], DType::Bf16, &[]);
        users(&q, 2, &by_user(&cos), &by_user(&sin), &mut decode).unwrap();
        assert_eq!(values(&decode), values(&all)[4..]);
        assert!(users(&q, 3, &by_user(&cos), &by_user(&sin), &mut decode).is_err());
    }
}
