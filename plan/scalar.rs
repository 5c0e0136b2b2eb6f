//! Numbers of a plan that depend on the scales of ternary weights, and are therefore only known when the weights are loaded.

use serde::{Deserialize, Serialize};

/// A constant times powers of weight scales.
///
/// A ternary matrix has one scale, known when weights are loaded. Folding scales into an epsilon or into the attention scale makes those
/// differ from layer to layer while the plan keeps one layer: so a plan writes the formula, and the runtime evaluates it per layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scalar {
    /// The constant factor.
    pub value: f64,
    /// Weight tensors (`{layer}` stands for the layer's number) whose scale multiplies `value`, each with its power.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scales: Vec<(String, i32)>,
}

impl Scalar {
    /// A plain number.
    pub const fn constant(value: f64) -> Self {
        Scalar { value, scales: Vec::new() }
    }

    /// True when no weight scale takes part.
    pub fn is_constant(&self) -> bool {
        self.scales.is_empty()
    }

    /// The number in one layer; `scale_of` gives a weight tensor's scale by its pattern.
    ///
    /// # Errors
    /// The error that `scale_of` returns for a tensor it does not know.
    pub fn evaluate<E>(&self, mut scale_of: impl FnMut(&str) -> Result<f64, E>) -> Result<f64, E> {
        self.scales.iter().try_fold(self.value, |product, (tensor, power)| Ok(product * scale_of(tensor)?.powi(*power)))
    }
}

impl From<f64> for Scalar {
    fn from(value: f64) -> Self {
        Scalar::constant(value)
    }
}
