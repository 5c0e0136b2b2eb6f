//! Weights for the evaluator.

use crate::graph::{Encoding, ScaleConvention};

/// Why a weight cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightError {
    /// No such tensor.
    #[error("no tensor `{0}`")]
    Missing(String),
    /// A tensor of another size than the model says.
    #[error("`{name}` has {found} elements, the model says {expected}")]
    Size {
        /// The tensor.
        name: String,
        /// The shape it has.
        found: usize,
        /// The shape it should have.
        expected: usize,
    },
    /// A scale that is no positive number.
    #[error("the scale of `{name}` is {scale}, it must be a finite number above 0")]
    Scale {
        /// The weight.
        name: String,
        /// Its scale.
        scale: f64,
    },
    /// Any other error of a source.
    #[error("`{name}`: {error}")]
    Source {
        /// The tensor.
        name: String,
        /// The source's error.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A ternary matrix and the number that multiplies its products.
#[derive(Debug, Clone, PartialEq)]
pub struct Ternary {
    /// `[out, in]`, row-major, each -1, 0 or 1.
    pub values: Vec<i8>,
    /// Output scale, positive.
    pub scale: f64,
}

impl Ternary {
    /// Unpacks a stored uint8 matrix of `out/4` rows: stored row `r` holds rows `r`, `r + out/4`, `r + out/2`, `r + 3*out/4` in bits
    /// 0-1, 2-3, 4-5 and 6-7, each value plus 1. `weight_scale` is the stored number.
    ///
    /// # Errors
    /// When sizes or the scale are wrong, or a code is 3, which no ternary value has.
    pub fn unpack(
        name: &str,
        bytes: &[u8],
        shape: [usize; 2],
        weight_scale: f64,
        convention: ScaleConvention,
    ) -> Result<Ternary, WeightError> {
        let [out, width] = shape;
        let expected = out * width / 4;
        if out % 4 != 0 || bytes.len() != expected {
            return Err(WeightError::Size { name: name.into(), found: bytes.len(), expected });
        }
        let scale = match convention {
            ScaleConvention::Multiplies => weight_scale,
            ScaleConvention::Divides => 1.0 / weight_scale,
        };
        if !(scale.is_finite() && scale > 0.0) {
            return Err(WeightError::Scale { name: name.into(), scale: weight_scale });
        }
        let mut values = Vec::with_capacity(out * width);
        for shift in [0, 2, 4, 6] {
            values.extend(bytes.iter().map(|&byte| ((byte >> shift) & 3) as i8 - 1));
        }
        if values.contains(&2) {
            return Err(WeightError::Source {
                name: name.into(),
                error: "a packed code 3, which stands for no ternary value".into(),
            });
        }
        Ok(Ternary { values, scale })
    }
}

/// Where the evaluator finds weights, by their full names.
pub trait WeightSource: Sync {
    /// All numbers of a float tensor, row-major.
    ///
    /// # Errors
    /// When there is no such tensor or it cannot be read.
    fn dense(&self, name: &str) -> Result<Vec<f32>, WeightError>;

    /// A ternary matrix stored as `encoding` says.
    ///
    /// # Errors
    /// When there is no such tensor or it cannot be read.
    fn ternary(&self, name: &str, shape: [usize; 2], encoding: Encoding) -> Result<Ternary, WeightError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_rows_lie_a_quarter_apart() {
        // Rows 0..8 of one column hold -1, 0, 1, -1, 0, 1, 1, 0.
        let rows = [-1_i8, 0, 1, -1, 0, 1, 1, 0];
        let byte = |r: usize| (0..4).map(|b| ((rows[r + 2 * b] + 1) as u8) << (2 * b)).sum::<u8>();
        let ternary = Ternary::unpack("w", &[byte(0), byte(1)], [8, 1], 4.0, ScaleConvention::Divides).unwrap();
        assert_eq!(ternary, Ternary { values: rows.to_vec(), scale: 0.25 });
    }

    #[test]
    fn a_code_of_three_and_a_zero_scale_are_refused() {
        assert!(Ternary::unpack("w", &[0xff], [4, 1], 1.0, ScaleConvention::Multiplies).is_err());
        assert!(Ternary::unpack("w", &[0], [4, 1], 0.0, ScaleConvention::Divides).is_err());
        assert!(Ternary::unpack("w", &[0], [4, 2], 1.0, ScaleConvention::Divides).is_err());
    }
}
