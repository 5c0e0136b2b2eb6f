//! The constant tensors of a plan. They are on the card before its first step, and a plan says from what they are made: matrices and
//! vectors of a checkpoint, or tables that can be calculated.

use serde::{Deserialize, Serialize};

use crate::{Padding, TensorSpec};

/// A constant tensor, written once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum Source {
    /// Checkpoint matrices, each transposed to `[in, out]` and set side by side along `out`, then padded with zeros to the spec's shape.
    /// (The padding to whole DRAM banks is TT-NN's.)
    Columns(Vec<Matrix>),
    /// A checkpoint matrix as it is, `[rows, columns]`, its rows padded with zeros as [`Matrix::inputs`] says: the embedding table.
    Rows(Matrix),
    /// Checkpoint vectors one after the other, laid out as `[1,1,n/32,32]` row-major or `[1,1,1,n]` tiled: a norm's factors, or the bias of
    /// a projection.
    Vectors(Vec<Vector>),
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
        /// Other frequencies for sequences that are longer than the model was first trained with.
        long: Option<LongAngles>,
    },
    /// The 32x32 matrix that exchanges adjacent columns and negates, repeated down the rows of the spec.
    RotaryTransform,
}

/// Frequencies of sequences longer than some length, as LongRoPE has them.
///
/// All tokens of a sequence turn by those of its length. So a prompt is prefilled by a phase of its own kind: one whose table has at most
/// `beyond` positions, or more. A decode step at position `p` is the last of a sequence of `p + 1` tokens, so that its table has both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LongAngles {
    /// The longest sequence that the first frequencies are for.
    pub beyond: u32,
    /// Radians per position of each pair of a longer one.
    pub frequencies: Vec<f64>,
    /// Whether the rows of the table are those of one sequence, a prompt of as many tokens, or each of another: that which it ends.
    pub one_sequence: bool,
}

impl LongAngles {
    /// Whether the row of `position` in a table of `positions` is of a sequence that is longer.
    pub fn holds(&self, position: u32, positions: u32) -> bool {
        let length = if self.one_sequence { positions } else { position.saturating_add(1) };
        length > self.beyond
    }
}

/// A vector of the checkpoint, `[n]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    /// Tensor name; `{layer}` stands for the layer's number.
    pub tensor: String,
    /// Elements in the checkpoint.
    pub len: u32,
    /// Leading elements of each group that are reordered, as in [`Matrix::rotated`].
    pub rotated: u32,
    /// Zero elements between them, where the columns that they meet are padded.
    pub padding: Option<Padding>,
    /// Multiplies every element: makes up for zero columns that a norm's mean counts.
    pub factor: f64,
    /// Matrices whose output scales multiply every element too, each to a power. A bias is divided by the scales that are taken out of the
    /// product that it is added to.
    pub scales: Vec<(Matrix, i32)>,
}

/// A matrix of the checkpoint, `[out, in]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
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
    /// Leading numbers of each group of [`Matrix::outputs`] that are reordered for adjacent-pair rotation: their halves, which Hugging Face
    /// rotates against each other, are interleaved. 0 for none.
    pub rotated: u32,
    /// The groups that the outputs are made of, each padded with zero columns; `None` where there are none and nothing is padded.
    pub outputs: Option<Padding>,
    /// The groups that the inputs are made of, each padded with zero rows: those of the activations it multiplies.
    pub inputs: Option<Padding>,
}

/// How a matrix's elements are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum RotaryFunction {
    /// Cosine.
    Cos,
    /// Sine.
    Sin,
}
