//! The constant tensors of a plan. They are on the card before its first step, and a plan says from what they are made: matrices and
//! vectors of a checkpoint, or tables that can be calculated.

use serde::{Deserialize, Serialize};

use crate::{Padding, TensorSpec};

/// A constant tensor, written once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weight {
    /// Name that steps use.
    pub name: String,
    /// One per layer.
    pub per_layer: bool,
    /// The tensor on the card.
    pub spec: TensorSpec,
    /// Its address on every core or in every bank, that of the first layer's where there is one per layer: those of the others follow.
    pub address: Option<u64>,
    /// Where its numbers come from.
    pub source: Source,
}

/// Where a weight's numbers come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Source {
    /// Checkpoint matrices, each transposed to `[in, out]` and set side by side along `out`, then padded with zeros to the spec's shape.
    /// (The padding to whole DRAM banks is TT-NN's.)
    Columns(Vec<Matrix>),
    /// A checkpoint matrix as it is, `[rows, columns]`, its rows padded with zeros as [`Matrix::inputs`] says: the embedding table.
    Rows(Matrix),
    /// A norm's vector `[n]`, laid out as `[1,1,n/32,32]` row-major or `[1,1,1,n]` tiled, times `factor`.
    Vector {
        /// Tensor name; `{layer}` stands for the layer's number.
        tensor: String,
        /// Elements in the checkpoint.
        len: u32,
        /// Zero elements between them, where the columns that it multiplies are padded.
        padding: Option<Padding>,
        /// Multiplies every element: makes up for zero columns that the norm's mean counts.
        factor: f64,
    },
    /// A norm without weight: `len` times `factor`.
    Ones {
        /// Elements.
        len: u32,
        /// Every element: 1, or what makes up for zero columns that the norm's mean counts.
        factor: f64,
    },
    /// Cosine or sine table `[positions, head_dim]`: each frequency twice in adjacent columns; columns past
    /// the rotated ones hold 1 (cosine) or 0 (sine).
    RotaryTable {
        /// Cosine or sine.
        function: RotaryFunction,
        /// Rows.
        positions: u32,
        /// Radians per position of each pair, `dim/2` of them.
        frequencies: Vec<f64>,
        /// Multiplies the rotated columns.
        amplitude: f64,
    },
    /// The 32x32 matrix that exchanges adjacent columns and negates, repeated down the rows of the spec.
    RotaryTransform,
}

/// A matrix of the checkpoint, `[out, in]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    /// Tensor name; `{layer}` stands for the layer's number.
    pub tensor: String,
    /// `[out, in]` of the part used (a packed ternary tensor stores a quarter of the rows).
    pub shape: [u32; 2],
    /// Logical rows `start..end` of the stored tensor that are used; `None` for all of them.
    pub rows: Option<(u32, u32)>,
    /// How its elements are read.
    pub content: Content,
    /// The groups of [`Matrix::outputs`] are heads to be reordered for adjacent-pair rotation (Hugging Face rotates halves).
    pub rotate_pairs: bool,
    /// The groups that the outputs are made of, each padded with zero columns; `None` where there are none and nothing is padded.
    pub outputs: Option<Padding>,
    /// The groups that the inputs are made of, each padded with zero rows: those of the activations it multiplies.
    pub inputs: Option<Padding>,
}

/// How a matrix's elements are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Content {
    /// -1, 0 or 1, four rows to a stored `uint8` row, or as floats of one magnitude where the scale multiplies. The scale is kept apart and enters through [`crate::Scalar`]s: the tensor
    /// `<tensor>_scale` (its name with `_scale` for the last `weight`'s end: `...weight_scale`), or its inverse when `divides`.
    Packed {
        /// The stored scale divides the product instead of multiplying it.
        divides: bool,
    },
    /// Float master weights: scale `max(mean|w|, 1e-5)`, values `clamp(round(w / scale), -1, 1)`.
    Absmean,
    /// As stored.
    Dense,
}

/// Function of a rotary table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RotaryFunction {
    /// Cosine.
    Cos,
    /// Sine.
    Sin,
}
