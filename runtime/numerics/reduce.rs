//! Reductions over the last dimension: maximum, largest magnitude, argmax. All exact.

use rayon::prelude::*;

use crate::element::Element;
use crate::error::{NumericsError, check_dim, check_multiple};

/// The maximum of each row; x is [rows, cols].
///
/// # Errors
/// [`NumericsError::Multiple`] if `cols` does not divide x, [`NumericsError::Dimension`] if out has not one
/// element per row.
pub fn max_rows<I: Element, O: Element>(x: &[I], cols: usize, out: &mut [O]) -> Result<(), NumericsError> {
    fold_rows(x, cols, out, |v| v)
}

/// The largest magnitude of each row; x is [rows, cols].
///
/// # Errors
/// As [`max_rows`].
pub fn abs_max_rows<I: Element, O: Element>(x: &[I], cols: usize, out: &mut [O]) -> Result<(), NumericsError> {
    fold_rows(x, cols, out, f32::abs)
}

fn fold_rows<I: Element, O: Element>(
    x: &[I],
    cols: usize,
    out: &mut [O],
    value: impl Fn(f32) -> f32 + Sync,
) -> Result<(), NumericsError> {
    check_multiple("elements to reduce", x.len(), cols)?;
    check_dim("reduced elements", out.len(), x.len() / cols)?;
    out.par_iter_mut().with_min_len((4096 / cols).max(1)).zip(x.par_chunks(cols)).for_each(|(o, row)| {
        *o = O::put(row.iter().fold(f32::NEG_INFINITY, |m, v| m.max(value(v.get()))));
    });
    Ok(())
}

/// The first column that holds its row's maximum; x is [rows, cols]. A NaN is never it.
///
/// # Errors
/// As [`max_rows`].
pub fn argmax_rows<I: Element>(x: &[I], cols: usize, out: &mut [u32]) -> Result<(), NumericsError> {
    check_multiple("elements to reduce", x.len(), cols)?;
    check_dim("indices", out.len(), x.len() / cols)?;
    out.par_iter_mut().zip(x.par_chunks(cols)).for_each(|(o, row)| {
        let mut best = (0, f32::NEG_INFINITY);
        for (c, v) in row.iter().enumerate() {
            if v.get() > best.1 {
                best = (c, v.get());
            }
        }
        *o = best.0 as u32;
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_maximum_wins() {
        let x = [1f32, 5.0, 5.0, -7.0, -9.0, -8.0, -7.0, -7.0];
        let (mut index, mut max, mut abs) = ([9u32; 2], [0f32; 2], [0f32; 2]);
        argmax_rows(&x, 4, &mut index).unwrap();
        max_rows(&x, 4, &mut max).unwrap();
        abs_max_rows(&x, 4, &mut abs).unwrap();
        assert_eq!((index, max, abs), ([1, 2], [5.0, -7.0], [7.0, 9.0]));
        assert!(argmax_rows(&x, 3, &mut index).is_err());
        assert!(max_rows(&x, 4, &mut [0f32; 3]).is_err());
    }
}
