//! Heads cut out of the fused projection and joined again.

use super::movement::{copy_runs, expect};
use super::tensor::HostTensor;
use crate::DeviceError;

/// How a tensor of heads is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Decode's `[1, B, heads, D]`.
    ByUser,
    /// Prefill's `[1, heads, S, D]`.
    ByHead,
}

impl Order {
    /// Heads, rows (users or tokens) and the size of a head.
    fn sizes(self, tensor: &HostTensor) -> (usize, usize, usize) {
        let (head_axis, row_axis) = match self {
            Order::ByUser => (2, 1),
            Order::ByHead => (1, 2),
        };
        (tensor.dim(head_axis), tensor.dim(row_axis), tensor.dim(3))
    }

    /// Head and row of the `i`th head vector in memory.
    fn head_and_row(self, i: usize, heads: usize, rows: usize) -> (usize, usize) {
        match self {
            Order::ByUser => (i % heads, i / heads),
            Order::ByHead => (i / rows, i % rows),
        }
    }
}

/// Cuts `[.., rows, (H + 2 Hkv) * D]` into q, k and v.
pub fn split(input: &HostTensor, outs: &mut [HostTensor; 3], order: Order) -> Result<(), DeviceError> {
    let columns = input.columns();
    let mut first = 0;
    for out in outs {
        let (heads, rows, dim) = order.sizes(out);
        expect(0, input, input.rows() >= rows && first + heads * dim <= columns, || {
            format!("{rows} rows and {} columns or more", first + heads * dim)
        })?;
        let runs = (0..heads * rows).map(|i| {
            let (head, row) = order.head_and_row(i, heads, rows);
            (row * columns + first + head * dim, i * dim)
        });
        copy_runs(0, input, out, dim, runs)?;
        first += heads * dim;
    }
    Ok(())
}

/// Sets heads side by side: `[1, 1, rows, H * D]`. Rows of `out` past those of `input` stay as they are.
pub fn join(input: &HostTensor, out: &mut HostTensor, order: Order) -> Result<(), DeviceError> {
    let (heads, rows, dim) = order.sizes(input);
    let columns = out.columns();
    expect(0, input, heads * dim == columns && rows <= out.rows(), || format!("heads that fill {:?}", out.spec.shape))?;
    let runs = (0..heads * rows).map(|i| {
        let (head, row) = order.head_and_row(i, heads, rows);
        (i * dim, row * columns + head * dim)
    });
    copy_runs(0, input, out, dim, runs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::{numbered, values};

    #[test]
    fn heads_are_cut_by_user_and_by_head_and_joined_again() {
        let fused = numbered(&[1, 1, 2, 8]);
        let mut decode = [numbered(&[1, 2, 2, 2]), numbered(&[1, 2, 1, 2]), numbered(&[1, 2, 1, 2])];
        split(&fused, &mut decode, Order::ByUser).unwrap();
        assert_eq!(values(&decode[0]), [0., 1., 2., 3., 8., 9., 10., 11.]);
        assert_eq!(values(&decode[2]), [6., 7., 14., 15.]);
        let mut prefill = [numbered(&[1, 2, 2, 2]), numbered(&[1, 1, 2, 2]), numbered(&[1, 1, 2, 2])];
        split(&fused, &mut prefill, Order::ByHead).unwrap();
        assert_eq!(values(&prefill[0]), [0., 1., 8., 9., 2., 3., 10., 11.]);
        let mut joined = numbered(&[1, 1, 2, 4]);
        join(&prefill[0], &mut joined, Order::ByHead).unwrap();
        let mut same = numbered(&[1, 1, 2, 4]);
        join(&decode[0], &mut same, Order::ByUser).unwrap();
        assert_eq!(values(&joined), values(&same));
        let wide = std::array::from_fn(|_| numbered(&[1, 2, 3, 4]));
        assert!(split(&fused, &mut { wide }, Order::ByUser).is_err());
    }
}
