//! Symbolic constants: factors whose numbers are known only when the weights are loaded.

use std::fmt;

/// A real constant `value * product(scale(weight)^power)`.
///
/// A ternary weight matrix carries one output scale, read (or computed) when the weights are loaded and different in every layer.
/// Folding moves such scales into attention scales, epsilons and residual additions long before any weight is opened, so these
/// constants stay symbolic in the graph and are evaluated per layer by whoever holds the weights.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Scalar {
    /// The numeric factor.
    pub value: f64,
    /// Symbolic factors, sorted by weight, no weight twice, no power zero.
    pub factors: Vec<Factor>,
}

/// One symbolic factor of a [`Scalar`]: the output scale of a ternary weight, raised to a power.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Factor {
    /// Name of the ternary *weight* tensor (not of its scale tensor), `{layer}` standing for the layer index. The factor is the
    /// number that multiplies `x @ ternary^T` to give the layer's output, whatever the checkpoint's convention of storing it. It is
    /// above zero: loaders refuse a checkpoint where it is not, and folding relies on it.
    pub weight: String,
    /// The power, never zero.
    pub power: i32,
}

impl Scalar {
    /// The constant 1.
    pub const ONE: Scalar = Scalar { value: 1.0, factors: Vec::new() };

    /// A plain number.
    pub fn number(value: f64) -> Self {
        Scalar { value, factors: Vec::new() }
    }

    /// The output scale of the ternary weight `name`.
    pub fn weight(name: impl Into<String>) -> Self {
        Scalar { value: 1.0, factors: vec![Factor { weight: name.into(), power: 1 }] }
    }

    /// Whether this is exactly 1 with no symbolic factor.
    pub fn is_one(&self) -> bool {
        self.value == 1.0 && self.factors.is_empty()
    }

    /// Whether every symbolic factor has an even power and the number is positive, so the value is positive for any scale.
    pub fn is_certainly_positive(&self) -> bool {
        self.value > 0.0 && self.factors.iter().all(|f| f.power % 2 == 0)
    }

    /// The product of two constants.
    #[must_use]
    pub fn times(&self, other: &Scalar) -> Scalar {
        let mut product = self.clone();
        product.value *= other.value;
        for factor in &other.factors {
            match product.factors.binary_search_by(|f| f.weight.cmp(&factor.weight)) {
                Ok(at) => {
                    product.factors[at].power += factor.power;
                    if product.factors[at].power == 0 {
                        product.factors.remove(at);
                    }
                }
                Err(at) => product.factors.insert(at, factor.clone()),
            }
        }
        product
    }

    /// The constant raised to `power`.
    #[must_use]
    pub fn pow(&self, power: i32) -> Scalar {
        if power == 0 {
            return Scalar::ONE;
        }
        let factors =
            self.factors.iter().map(|f| Factor { weight: f.weight.clone(), power: f.power * power }).collect();
        Scalar { value: self.value.powi(power), factors }
    }

    /// The number in layer `layer`, `scale` giving the output scale of a ternary weight by its full name.
    ///
    /// # Errors
    /// The error of `scale` for a name that it does not know.
    pub fn evaluate<E>(&self, layer: usize, mut scale: impl FnMut(&str) -> Result<f64, E>) -> Result<f64, E> {
        let mut product = self.value;
        for factor in &self.factors {
            product *= scale(&resolve(&factor.weight, layer))?.powi(factor.power);
        }
        Ok(product)
    }
}

/// The name of a tensor in layer `layer`: every `{layer}` replaced.
pub fn resolve(pattern: &str, layer: usize) -> String {
    pattern.replace("{layer}", &layer.to_string())
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.value != 1.0 || self.factors.is_empty() {
            parts.push(format!("{}", self.value));
        }
        for factor in &self.factors {
            let name = factor.weight.trim_start_matches("model.layers.{layer}.").trim_end_matches(".weight");
            parts.push(match factor.power {
                1 => format!("s({name})"),
                power => format!("s({name})^{power}"),
            });
        }
        f.write_str(&parts.join("*"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_merge_factors_and_drop_what_cancels() {
        let q = Scalar::weight("q");
        let k = Scalar::weight("k");
        let product = q.times(&k).times(&Scalar::number(0.5)).times(&q.pow(-1));
        assert_eq!(product, Scalar { value: 0.5, factors: vec![Factor { weight: "k".into(), power: 1 }] });
    }

    #[test]
    fn evaluation_reads_each_layers_scale() {
        let scalar = Scalar::number(2.0).times(&Scalar::weight("l.{layer}.w").pow(-2));
        let value = scalar.evaluate(3, |name| if name == "l.3.w" { Ok(4.0) } else { Err(name.to_string()) });
        assert_eq!(value, Ok(0.125));
    }
}
