//! A figure of a target's file with its band, and the calibrations in which one figure is at an end of its band.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::Calibration;

/// A number of the cost model, and the least and the largest value that its source leaves possible. In a file it is written
/// `(22.4, 21.0, 24.0)`, or as a number alone where it is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure {
    /// The value that predictions are made with.
    pub value: f64,
    /// Least and largest.
    pub band: Option<(f64, f64)>,
}

/// One figure of the cost model moved to the ends of its band.
#[derive(Debug, Clone, PartialEq)]
pub struct Moved {
    /// The path of its field, as in `cost.norm.start_us`.
    pub path: String,
    /// All constants, with this one at its least and at its largest.
    pub ends: [Calibration; 2],
}

/// The bands of a calibration. A constant that was changed since, as by a fit, keeps its band in proportion.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bands(Vec<Band>);

/// The band of one figure.
#[derive(Debug, Clone, PartialEq)]
struct Band {
    /// A JSON pointer to the figure.
    path: String,
    /// The figure as the file gives it.
    value: f64,
    /// Least and largest.
    ends: [f64; 2],
}

impl Band {
    /// The ends around another value of the figure.
    fn around(&self, value: f64) -> [f64; 2] {
        self.ends.map(|end| if value == self.value { end } else { value * end / self.value })
    }
}

impl Bands {
    /// The values of a file's figures, and their bands. `None` when a figure is no finite number.
    pub(super) fn split(figures: &Calibration<Figure>) -> Option<(Calibration, Bands)> {
        let mut json = serde_json::to_value(figures).ok()?;
        let mut bands = Vec::new();
        take(&mut json, String::new(), &mut bands);
        Some((serde_json::from_value(json).ok()?, Bands(bands)))
    }

    /// The figures of a file that [`Bands::split`] splits into these.
    pub(super) fn join(&self, values: &Calibration) -> Option<Calibration<Figure>> {
        let mut json = serde_json::to_value(values).ok()?;
        for band in &self.0 {
            let slot = json.pointer_mut(&band.path)?;
            let value = slot.as_f64()?;
            let [low, high] = band.around(value);
            *slot = serde_json::json!([value, low, high]);
        }
        serde_json::from_value(json).ok()
    }

    /// The calibrations in which one figure after the other is at an end of its band.
    pub fn moved(&self, values: &Calibration) -> Vec<Moved> {
        let Ok(json) = serde_json::to_value(values) else { return Vec::new() };
        let with = |path: &str, end: f64| {
            let mut json = json.clone();
            *json.pointer_mut(path)? = end.into();
            serde_json::from_value(json).ok()
        };
        let of = |band: &Band| {
            let [low, high] = band.around(json.pointer(&band.path)?.as_f64()?);
            let ends = [with(&band.path, low)?, with(&band.path, high)?];
            Some(Moved { path: format!("cost{}", band.path.replace('/', ".")), ends })
        };
        self.0.iter().filter_map(of).collect()
    }
}

/// Replaces each figure that has a band by its value, and adds the band to `bands`.
fn take(json: &mut Value, path: String, bands: &mut Vec<Band>) {
    match json {
        Value::Object(fields) => {
            fields.iter_mut().for_each(|(name, value)| take(value, format!("{path}/{name}"), bands));
        }
        Value::Array(figure) => {
            let numbers: Vec<f64> = figure.iter().filter_map(Value::as_f64).collect();
            if let [value, low, high] = numbers[..] {
                bands.push(Band { path, value, ends: [low, high] });
                *json = value.into();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.band {
            Some((low, high)) => (self.value, low, high).serialize(serializer),
            None => self.value.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Figure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FigureVisitor)
    }
}

struct FigureVisitor;

impl<'de> Visitor<'de> for FigureVisitor {
    type Value = Figure;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or a number and its band as (value, least, largest)")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Figure, E> {
        Ok(Figure { value, band: None })
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Figure, E> {
        self.visit_f64(value as f64)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Figure, E> {
        self.visit_f64(value as f64)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Figure, A::Error> {
        let mut next = |at: usize| seq.next_element::<f64>()?.ok_or_else(|| A::Error::invalid_length(at, &self));
        let (value, low, high) = (next(0)?, next(1)?, next(2)?);
        if value > 0.0 && (0.0..=value).contains(&low) && high >= value && high.is_finite() {
            Ok(Figure { value, band: Some((low, high)) })
        } else {
            let found = format!("({value}, {low}, {high})");
            Err(A::Error::custom(format!(
                "{found} is no band, expected (value, least, largest) around a positive value"
            )))
        }
    }
}
