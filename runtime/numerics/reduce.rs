//! Reductions over the last dimension: maximum, argmax. Both exact.

use rayon::prelude::*;

use crate::element::Element;
use crate::error::{NumericsError, check_dim, check_multiple};
use crate::simd::{Loop, vectorised};

/// The maximum of each row; x is [rows, cols].
///
/// # Errors
/// [`NumericsError::Multiple`] if `cols` does not divide x, [`NumericsError::Dimension`] if out has not one
/// element per row.
pub fn max_rows<I: Element, O: Element>(x: &[I], cols: usize, out: &mut [O]) -> Result<(), NumericsError> {
    check_multiple("elements to reduce", x.len(), cols)?;
    check_dim("reduced elements", out.len(), x.len() / cols)?;
    out.par_iter_mut().with_min_len((4096 / cols).max(1)).zip(x.par_chunks(cols)).for_each(|(o, row)| {
        *o = O::put(vectorised(Largest(row)));
    });
    Ok(())
}

/// The largest number of a row; a NaN is never it.
struct Largest<'a, I>(&'a [I]);

impl<I: Element> Loop for Largest<'_, I> {
    type Output = f32;

    #[inline(always)]
    fn run(self) -> f32 {
        let larger = |m: f32, v: f32| if v > m { v } else { m };
        let (whole, rest) = self.0.as_chunks::<32>();
        let mut lanes = [f32::NEG_INFINITY; 32];
        for part in whole {
            for (l, v) in lanes.iter_mut().zip(part) {
                *l = larger(*l, v.get());
            }
        }
        let most = lanes.into_iter().fold(f32::NEG_INFINITY, larger);
        rest.iter().map(|v| v.get()).fold(most, larger)
    }
}

/// The first column that holds its row's maximum; x is [rows, cols]. A NaN is never it.
///
/// # Errors
/// As [`max_rows`].
pub fn argmax_rows<I: Element>(x: &[I], cols: usize, out: &mut [u32]) -> Result<(), NumericsError> {
    check_multiple("elements to reduce", x.len(), cols)?;
    check_dim("indices", out.len(), x.len() / cols)?;
    out.par_iter_mut().zip(x.par_chunks(cols)).for_each(|(o, row)| {
        let most = vectorised(Largest(row));
        // A row without a number above minus infinity has its maximum in the first column.
        *o = row.iter().position(|v| most > f32::NEG_INFINITY && v.get() == most).unwrap_or(0) as u32;
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_maximum_wins() {
        let x = [1f32, 5.0, 5.0, -7.0, -9.0, -8.0, -7.0, -7.0];
        let (mut index, mut max) = ([9u32; 2], [0f32; 2]);
        argmax_rows(&x, 4, &mut index).unwrap();
        max_rows(&x, 4, &mut max).unwrap();
        assert_eq!((index, max), ([1, 2], [5.0, -7.0]));
        assert!(argmax_rows(&x, 3, &mut index).is_err());
        assert!(max_rows(&x, 4, &mut [0f32; 3]).is_err());
    }
}
