//! Factors: constants times powers of what is only known when a phase runs.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::node::Term;
use crate::Scalar;

/// A quantity above zero whose number a plan does not tell.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Factor {
    /// The scale of a ternary checkpoint tensor.
    Weight(String),
    /// A number of the row, such as its largest magnitude.
    Row(Term),
}

/// A constant times powers of [`Factor`]s.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    value: f64,
    powers: BTreeMap<Factor, i32>,
}

/// Relative difference of two constants that count as one. They come from the same numbers by other roundings of f64.
const TOLERANCE: f64 = 1e-9;

impl Scale {
    /// A plain number.
    pub fn number(value: f64) -> Self {
        Scale { value, powers: BTreeMap::new() }
    }

    /// The constant 1.
    pub fn one() -> Self {
        Scale::number(1.0)
    }

    /// One factor.
    pub fn factor(factor: Factor) -> Self {
        Scale { value: 1.0, powers: BTreeMap::from([(factor, 1)]) }
    }

    /// The product of both.
    #[must_use]
    pub fn times(&self, other: &Scale) -> Scale {
        let mut product = Scale { value: self.value * other.value, powers: self.powers.clone() };
        for (factor, power) in &other.powers {
            product.raise(factor, *power);
        }
        product
    }

    fn raise(&mut self, factor: &Factor, power: i32) {
        let found = self.powers.entry(factor.clone()).or_default();
        *found = found.saturating_add(power);
        if *found == 0 {
            self.powers.remove(factor);
        }
    }

    /// The quotient of both.
    #[must_use]
    pub fn over(&self, other: &Scale) -> Scale {
        self.times(&other.pow(-1))
    }

    /// A power of it; not 0.
    #[must_use]
    pub fn pow(&self, power: i32) -> Scale {
        let powers = self.powers.iter().map(|(factor, p)| (factor.clone(), p.saturating_mul(power))).collect();
        Scale { value: self.value.powi(power), powers }
    }

    /// Its magnitude: factors are above zero.
    #[must_use]
    pub fn magnitude(&self) -> Scale {
        Scale { value: self.value.abs(), powers: self.powers.clone() }
    }

    /// 1 or -1.
    pub const fn sign(&self) -> f64 {
        if self.value < 0.0 { -1.0 } else { 1.0 }
    }

    /// Whether it is above zero.
    pub fn is_positive(&self) -> bool {
        self.value > 0.0
    }

    /// The sum of two scales of the same powers; `None` for others.
    pub fn plus(&self, other: &Scale) -> Option<Scale> {
        let powers = self.powers.clone();
        (powers == other.powers).then(|| Scale { value: self.value + other.value, powers })
    }

    /// The same without the factors that belong to a row, and those.
    pub fn split_rows(&self) -> (Scale, Vec<(Factor, i32)>) {
        let is_row = |factor: &Factor| match factor {
            Factor::Row(_) => true,
            Factor::Weight(_) => false,
        };
        let rows = self.powers.iter().filter(|(f, _)| is_row(f)).map(|(f, p)| (f.clone(), *p)).collect();
        let powers = self.powers.iter().filter(|(f, _)| !is_row(f)).map(|(f, p)| (f.clone(), *p)).collect();
        (Scale { value: self.value, powers }, rows)
    }

    /// Whether both are one, but for the rounding of f64.
    pub fn is_close(&self, other: &Scale) -> bool {
        let most = self.value.abs().max(other.value.abs());
        self.powers == other.powers && (self.value - other.value).abs() <= TOLERANCE * most
    }

    /// Whether it is 1, but for the rounding of f64.
    pub fn is_one(&self) -> bool {
        self.is_close(&Scale::one())
    }

    /// The constant alone.
    pub const fn value(&self) -> f64 {
        self.value
    }

    /// The factors with their powers.
    pub fn powers(&self) -> impl Iterator<Item = (&Factor, i32)> {
        self.powers.iter().map(|(factor, power)| (factor, *power))
    }
}

impl From<&Scalar> for Scale {
    fn from(scalar: &Scalar) -> Scale {
        let mut scale = Scale::number(scalar.value);
        for (tensor, power) in &scalar.scales {
            scale.raise(&Factor::Weight(tensor.clone()), *power);
        }
        scale
    }
}

/// A number as it enters a term: with seven significant digits, which is what f32 holds of it. So constants that differ by the rounding of
/// f64 alone give one term.
pub fn written(value: f64) -> String {
    format!("{:.6e}", value + 0.0)
}

impl Serialize for Scale {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (written(self.value), &self.powers.iter().collect::<Vec<_>>()).serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_add_up_and_vanish() {
        let weight = |power| Scale::from(&Scalar { value: 2.0, scales: vec![("w".into(), power)] });
        assert!(weight(1).times(&weight(-1)).is_close(&Scale::number(4.0)));
        assert_eq!(weight(2).pow(-2), Scale::from(&Scalar { value: 0.25, scales: vec![("w".into(), -4)] }));
        assert!(!weight(1).is_close(&weight(2)) && weight(1).plus(&weight(2)).is_none());
    }

    #[test]
    fn numbers_that_rounding_tells_apart_are_one() {
        let third = Scale::number(1.0).over(&Scale::number(3.0)).times(&Scale::number(3.0 + 1e-15));
        assert!(third.is_one() && written(third.value()) == written(1.0));
        assert_eq!(written(-0.0), written(0.0));
        assert_ne!(written(1e-5), written(1.000_001e-5));
    }
}
