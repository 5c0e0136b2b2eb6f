//! Calls that move elements without changing them: heads, transposes, slices, concatenations, lookups.

use bitnetc_numerics::NumericsError;
use bitnetc_plan::op::Rows as Kept;
use rayon::prelude::*;

use super::tensor::{Data, HostTensor};
use crate::DeviceError;
use crate::device::Arguments;
use crate::weights::Rows;

/// More elements than this are copied by all cores.
const LONG: usize = 1 << 17;

/// Copies runs of `len` elements: `(from, to)` pairs of first elements.
///
/// # Errors
/// Operand `operand` is of another type than the result.
fn copy_runs(
    operand: usize,
    from: &HostTensor,
    to: &mut HostTensor,
    len: usize,
    runs: impl Iterator<Item = (usize, usize)>,
) -> Result<(), DeviceError> {
    fn copy<T: Copy + Send + Sync>(from: &[T], to: &mut [T], len: usize, runs: impl Iterator<Item = (usize, usize)>) {
        for (source, target) in runs {
            let (from, to) = (&from[source..source + len], &mut to[target..target + len]);
            if len <= LONG {
                to.copy_from_slice(from);
            } else {
                to.par_chunks_mut(LONG).zip(from.par_chunks(LONG)).for_each(|(to, from)| to.copy_from_slice(from));
            }
        }
    }
    match (&from.data, &mut to.data) {
        (Data::Bf16(a), Data::Bf16(b)) => copy(a, b, len, runs),
        (Data::F32(a), Data::F32(b)) => copy(a, b, len, runs),
        (Data::Integer(a), Data::Integer(b)) => copy(a, b, len, runs),
        _ => return Err(from.unexpected(operand, format!("data type {}", to.spec.dtype))),
    }
    Ok(())
}

/// `Ok` when operand `operand` has the elements that its result asks for.
fn expect(operand: usize, tensor: &HostTensor, fits: bool, want: impl FnOnce() -> String) -> Result<(), DeviceError> {
    if fits { Ok(()) } else { Err(tensor.unexpected(operand, want())) }
}

/// The same elements; also for other layouts, which do not show here.
pub fn copy(input: &HostTensor, out: &mut HostTensor) -> Result<(), DeviceError> {
    let len = super::tensor::elements(&out.spec);
    expect(0, input, super::tensor::elements(&input.spec) == len, || format!("{:?}", out.spec.shape))?;
    copy_runs(0, input, out, len, std::iter::once((0, 0)))
}

/// The first elements of `out`, from all of `input`.
pub fn copy_front(input: &HostTensor, out: &mut HostTensor) -> Result<(), DeviceError> {
    let len = super::tensor::elements(&input.spec);
    expect(0, input, super::tensor::elements(&out.spec) >= len, || format!("{:?} or less", out.spec.shape))?;
    copy_runs(0, input, out, len, std::iter::once((0, 0)))
}

/// Cuts `[.., rows, (H + 2 Hkv) * D]` into q, k and v. In decode (`by_user`) they are `[1, B, heads, D]`, in prefill `[1, heads, S, D]`.
pub fn create_heads(input: &HostTensor, outs: &mut [HostTensor], by_user: bool) -> Result<(), DeviceError> {
    let columns = input.columns();
    let (head_axis, row_axis) = if by_user { (2, 1) } else { (1, 2) };
    let mut first = 0;
    for out in outs {
        let (heads, rows, dim) = (out.dim(head_axis), out.dim(row_axis), out.dim(3));
        expect(0, input, input.rows() >= rows && first + heads * dim <= columns, || {
            format!("{rows} rows and {} columns or more", first + heads * dim)
        })?;
        let runs = (0..heads * rows).map(|i| {
            let (head, row) = if by_user { (i % heads, i / heads) } else { (i / rows, i % rows) };
            (row * columns + first + head * dim, i * dim)
        });
        copy_runs(0, input, out, dim, runs)?;
        first += heads * dim;
    }
    Ok(())
}

/// `[1, B, H, D]` (`by_user`) or `[1, H, S, D]` to `[1, 1, rows, H * D]`; rows past the last user are zeros.
pub fn concat_heads(input: &HostTensor, out: &mut HostTensor, by_user: bool) -> Result<(), DeviceError> {
    let (head_axis, row_axis) = if by_user { (2, 1) } else { (1, 2) };
    let (heads, rows, dim) = (input.dim(head_axis), input.dim(row_axis), input.dim(3));
    let columns = out.columns();
    expect(0, input, heads * dim == columns && rows <= out.rows(), || format!("heads that fill {:?}", out.spec.shape))?;
    let runs = (0..heads * rows).map(|i| {
        let (head, row) = if by_user { (i % heads, i / heads) } else { (i / rows, i % rows) };
        (i * dim, row * columns + head * dim)
    });
    copy_runs(0, input, out, dim, runs)
}

/// Exchanges two dimensions.
pub fn transpose(input: &HostTensor, dims: (u32, u32), out: &mut HostTensor) -> Result<(), DeviceError> {
    let rank = input.spec.shape.len();
    // Axes count from the left of the tensor's own shape; move them to rank 4.
    let axis = |d: u32| 4 - rank.min(4) + d as usize;
    let (a, b) = (axis(dims.0), axis(dims.1));
    expect(0, input, a < 4 && b < 4, || format!("a rank that has dimensions {dims:?}"))?;
    let from: [usize; 4] = std::array::from_fn(|i| input.dim(i));
    let mut to = from;
    to.swap(a, b);
    let fits = (0..4).all(|i| out.dim(i) == to[i]);
    expect(0, input, fits, || format!("the transpose of {:?}", out.spec.shape))?;
    let strides: [usize; 4] = std::array::from_fn(|i| from[i + 1..].iter().product());
    let mut order = strides;
    order.swap(a, b);
    // Whole rows when the last dimension stays.
    let len = if a.max(b) == 3 { 1 } else { from[3] };
    let count = from.iter().product::<usize>().checked_div(len).unwrap_or(0);
    let runs = (0..count).map(|i| {
        let at = i * len;
        let index = [at / (to[1] * to[2] * to[3]), at / (to[2] * to[3]) % to[1], at / to[3] % to[2], at % to[3]];
        ((0..4).map(|d| index[d] * order[d]).sum(), at)
    });
    copy_runs(0, input, out, len, runs)
}

/// Keeps some rows, or of the last token's tile the one that is needed.
pub fn slice(input: &HostTensor, kept: Kept, arguments: Arguments, out: &mut HostTensor) -> Result<(), DeviceError> {
    let taken = out.dim(2);
    let (first, end) = match kept {
        Kept::Range(first, end) => (first as usize, end as usize),
        Kept::LastTokenTile => (arguments.tile_row as usize, arguments.tile_row as usize + taken),
    };
    let (outer, rows, columns) = (input.dim(0) * input.dim(1), input.dim(2), input.dim(3));
    let fits = end <= rows && end.checked_sub(first) == Some(taken) && out.dim(0) * out.dim(1) == outer;
    expect(0, input, fits && out.columns() == columns, || format!("one that has rows {first}..{end}"))?;
    let kept = match (kept, arguments.live_row) {
        (Kept::LastTokenTile, Some(row)) if (row as usize) < taken => row as usize..row as usize + 1,
        _ => 0..taken,
    };
    if kept.len() < taken {
        out.clear();
    }
    let runs = (0..outer).map(|o| ((o * rows + first + kept.start) * columns, (o * taken + kept.start) * columns));
    copy_runs(0, input, out, kept.len() * columns, runs)
}

/// Sets tensor number `operand` into the columns from `first` on; returns the next free column.
pub fn concat(operand: usize, input: &HostTensor, first: usize, out: &mut HostTensor) -> Result<usize, DeviceError> {
    let (columns, width) = (input.columns(), out.columns());
    expect(operand, input, input.rows() == out.rows() && first + columns <= width, || {
        format!("a part of {:?}", out.spec.shape)
    })?;
    copy_runs(operand, input, out, columns, (0..input.rows()).map(|r| (r * columns, r * width + first)))?;
    Ok(first + columns)
}

/// Rows `indices` of a table in memory.
pub fn embedding(indices: &[u32], table: &HostTensor, out: &mut HostTensor) -> Result<(), DeviceError> {
    let (columns, rows) = (table.columns(), table.rows());
    check_indices(indices, rows, out.rows())?;
    expect(1, table, out.columns() == columns, || format!("rows of {}", out.columns()))?;
    copy_runs(1, table, out, columns, indices.iter().enumerate().map(|(i, &r)| (r as usize * columns, i * columns)))
}

/// Rows `indices` of a table in a file.
pub fn embedding_from(
    indices: &[u32],
    table: &Rows,
    out: &mut HostTensor,
    row: &mut Vec<f32>,
) -> Result<(), DeviceError> {
    check_indices(indices, table.rows(), out.rows())?;
    let columns = table.columns();
    let wrong = out.columns() != columns;
    let Data::Bf16(data) = &mut out.data else { return Err(out.unexpected(1, "bf16")) };
    if wrong {
        return Err(out.unexpected(1, format!("rows of {columns}")));
    }
    row.resize(columns, 0.0);
    for (target, &index) in data.chunks_exact_mut(columns).zip(indices) {
        table.read_row(index as usize, row);
        bitnetc_numerics::narrow_slice(row, target);
    }
    Ok(())
}

fn check_indices(indices: &[u32], rows: usize, outputs: usize) -> Result<(), DeviceError> {
    if let Some(&index) = indices.iter().find(|&&i| i as usize >= rows) {
        return Err(DeviceError::Range { what: "index into the table", got: i64::from(index), limit: rows as u64 });
    }
    if indices.len() != outputs {
        let (what, got, want) = ("rows of the embedding", indices.len(), outputs);
        return Err(NumericsError::Dimension { what, got, want }.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use bitnetc_plan::{DType, MemoryConfig, TensorSpec};

    fn tensor(shape: &[u32]) -> HostTensor {
        let spec = Arc::new(TensorSpec::tile(shape, DType::F32, MemoryConfig::DRAM));
        let count = super::super::tensor::elements(&spec);
        HostTensor { spec, data: Data::F32((0..count).map(|i| i as f32).collect()) }
    }

    fn values(tensor: &HostTensor) -> Vec<f32> {
        match &tensor.data {
            Data::F32(v) => v.clone(),
            _ => vec![],
        }
    }

    #[test]
    fn heads_are_cut_by_user_and_by_head_and_joined_again() {
        let fused = tensor(&[1, 1, 2, 8]);
        let mut decode = [tensor(&[1, 2, 2, 2]), tensor(&[1, 2, 1, 2]), tensor(&[1, 2, 1, 2])];
        create_heads(&fused, &mut decode, true).unwrap();
        assert_eq!(values(&decode[0]), [0., 1., 2., 3., 8., 9., 10., 11.]);
        assert_eq!(values(&decode[2]), [6., 7., 14., 15.]);
        let mut prefill = [tensor(&[1, 2, 2, 2]), tensor(&[1, 1, 2, 2]), tensor(&[1, 1, 2, 2])];
        create_heads(&fused, &mut prefill, false).unwrap();
        assert_eq!(values(&prefill[0]), [0., 1., 8., 9., 2., 3., 10., 11.]);
        let mut joined = tensor(&[1, 1, 2, 4]);
        concat_heads(&prefill[0], &mut joined, false).unwrap();
        let mut same = tensor(&[1, 1, 2, 4]);
        concat_heads(&decode[0], &mut same, true).unwrap();
        assert_eq!(values(&joined), values(&same));
        assert!(create_heads(&fused, &mut [tensor(&[1, 2, 3, 4])], true).is_err());
    }

    #[test]
    fn transposes_of_every_pair() {
        let input = tensor(&[1, 2, 3, 4]);
        let at = |i: [usize; 4]| ((i[0] * 2 + i[1]) * 3 + i[2]) * 4 + i[3];
        for (dims, shape) in [((1u32, 2u32), [1u32, 3, 2, 4]), ((2, 3), [1, 2, 4, 3]), ((0, 1), [2, 1, 3, 4])] {
            let mut out = tensor(&shape);
            transpose(&input, dims, &mut out).unwrap();
            let got = values(&out);
            for (i, got) in got.into_iter().enumerate() {
                let s = shape.map(|d| d as usize);
                let mut index = [i / (s[1] * s[2] * s[3]), i / (s[2] * s[3]) % s[1], i / s[3] % s[2], i % s[3]];
                index.swap(dims.0 as usize, dims.1 as usize);
                assert_eq!(got, at(index) as f32);
            }
        }
    }

    #[test]
    fn slices_and_concatenations() {
        let input = tensor(&[1, 1, 64, 2]);
        let mut tile = tensor(&[1, 1, 32, 2]);
        let at = |tile_row, live_row| Arguments { user: 0, tile_row, live_row };
        slice(&input, Kept::LastTokenTile, at(32, None), &mut tile).unwrap();
        assert_eq!(values(&tile)[..3], [64., 65., 66.]);
        slice(&input, Kept::LastTokenTile, at(32, Some(1)), &mut tile).unwrap();
        assert_eq!(values(&tile)[..5], [0., 0., 66., 67., 0.]);
        assert!(slice(&input, Kept::LastTokenTile, at(64, None), &mut tile).is_err());
        let mut wide = tensor(&[1, 1, 2, 5]);
        let next = concat(0, &tensor(&[1, 1, 2, 3]), 0, &mut wide).unwrap();
        concat(1, &tensor(&[1, 1, 2, 2]), next, &mut wide).unwrap();
        assert_eq!(values(&wide), [0., 1., 2., 0., 1., 3., 4., 5., 2., 3.]);
    }

    #[test]
    fn lookups_stay_in_the_table() {
        let table = tensor(&[1, 1, 3, 2]);
        let mut out = tensor(&[1, 2, 2]);
        embedding(&[2, 0], &table, &mut out).unwrap();
        assert_eq!(values(&out), [4., 5., 0., 1.]);
        assert!(matches!(embedding(&[3, 0], &table, &mut out), Err(DeviceError::Range { got: 3, limit: 3, .. })));
    }
}
