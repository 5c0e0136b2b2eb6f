//! Measurements as data: rows of whole decode steps and of single calls, read from RON.
//!
//! `measured.ron` holds the published measurements. A file of the same form can hold a user's own:
//!
//! ```ron
//! (
//!     steps: [(model: "llama-3.2-1b", target: "n150", tokens_per_s: 87.8, set: ["down=/LoFi"], position: 255, batch: 1)],
//!     calls: [(what: "rms_norm 2560", target: "p150", us: (31.6, 31.6), call: Norm(columns: 2560, cores: 8, conversions: true))],
//! )
//! ```

mod validate;

use bitnetc_plan::{DType, Fidelity};
use serde::Deserialize;

use bitnetc_compiler::policy::Override;

/// The use that was made of a row when the cost model was fitted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub enum Use {
    /// The row was not used, so its error shows how well the model predicts.
    #[default]
    None,
    /// The row is one of those to which the constants were fitted.
    Fit,
    /// The named constants were taken from the row, or from the page on which it was published.
    Sets(String),
}

/// The schedule that was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum Scheduled {
    /// The schedule of tt_transformers, in which QKV goes through interleaved memory.
    #[default]
    TtTransformers,
    /// The schedule of tt_transformers with QKV kept in shards.
    QkvSharded,
    /// A schedule in which everything is interleaved, as in ports that shard nothing.
    Interleaved,
    /// A plan of bitnetc, with tokens that the host samples.
    Plan,
    /// A plan of bitnetc that chooses the token on the card, as `bitnetc run` does at temperature 0.
    PlanGreedy,
}

/// A measured decode step of a whole model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepRow {
    /// Name of a shipped model, or path of a model's RON file.
    pub model: String,
    /// Name of the card.
    pub target: String,
    /// Tokens per second of one user.
    pub tokens_per_s: f64,
    /// The schedule that was measured.
    #[serde(default)]
    pub schedule: Scheduled,
    /// Precision where it differs from what the balanced policy asks of a ternary model in decode (gate and up bfp4 LoFi, all else bfp8
    /// HiFi2), in the form that `--set` takes. The published rows are of dense models in that precision.
    #[serde(default)]
    pub set: Vec<String>,
    /// Users.
    #[serde(default = "one")]
    pub batch: u32,
    /// Position at which attention is priced. When it is left out, a step of tt_transformers is priced over the positions of its demo, see
    /// [`StepRow::positions`], and a plan at [`POSITION`].
    #[serde(default)]
    pub position: Option<u32>,
    /// Readers per DRAM bank of the layers' projections, where the measured schedule is that of tt_transformers.
    #[serde(default = "one")]
    pub readers: u32,
    /// The name of its setting in a table.
    #[serde(default)]
    pub label: String,
    /// The use that was made of it when the cost model was fitted.
    #[serde(default)]
    pub used: Use,
    /// The publication.
    #[serde(default)]
    pub source: String,
    /// The circumstances of the measurement that are not known.
    #[serde(default)]
    pub note: String,
}

/// A measured time to the first token: a prefill, and the host's loop around it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrefillRow {
    /// Name of a shipped model, or path of a model's RON file.
    pub model: String,
    /// Name of the card.
    pub target: String,
    /// Tokens of the prompt, as many as one phase of a plan prefills.
    pub tokens: u32,
    /// Milliseconds to the first token.
    pub ms: f64,
    /// Precision where it differs from what the balanced policy asks of a ternary model in prefill.
    #[serde(default)]
    pub set: Vec<String>,
    /// The name of its setting in a table.
    #[serde(default)]
    pub label: String,
    /// The publication.
    #[serde(default)]
    pub source: String,
    /// The circumstances of the measurement that are not known.
    #[serde(default)]
    pub note: String,
}

/// One call or a few that were measured on their own.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallRow {
    /// A name for tables.
    pub what: String,
    /// Name of the card.
    pub target: String,
    /// The least and the largest time measured, in microseconds.
    pub us: (f64, f64),
    /// The call.
    pub call: Measured,
    /// Whether only the kernels were measured, without the gap to the next program.
    #[serde(default)]
    pub kernel: bool,
    /// The use that was made of it when the cost model was fitted.
    #[serde(default)]
    pub used: Use,
    /// The publication.
    #[serde(default)]
    pub source: String,
    /// The circumstances of the measurement that are not known.
    #[serde(default)]
    pub note: String,
}

/// A measured call; widths in elements, for one tile of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub enum Measured {
    /// A projection by 1D matmuls with interleaved weights, in chunks of its columns.
    Linear {
        inner: u32,
        columns: u32,
        weight: DType,
        fidelity: Fidelity,
        #[serde(default = "one")]
        chunks: u32,
    },
    /// A norm on a number of cores, or interleaved when that is 0, with or without the conversions to shards and back.
    Norm {
        columns: u32,
        #[serde(default)]
        cores: u32,
        #[serde(default)]
        conversions: bool,
    },
    /// Attention in decode.
    ///
    /// `chunk` keys at a time on `grid`; `in_turn` of a release in which one core combined the results of all others of its head.
    Attention {
        users: u32,
        heads: u32,
        kv_heads: u32,
        head_dim: u32,
        cache: DType,
        position: u32,
        #[serde(default = "chunk")]
        chunk: u32,
        #[serde(default = "grid")]
        grid: (u32, u32),
        #[serde(default)]
        in_turn: bool,
    },
    /// Interleaved to shards.
    ToSharded { columns: u32 },
    /// Shards to interleaved.
    ToInterleaved { columns: u32 },
    /// Shards to other shards.
    Reshard { columns: u32 },
    /// The head split.
    CreateHeads { users: u32, heads: u32, kv_heads: u32, head_dim: u32 },
    /// Rotation of q and k in one call.
    RotateFused { users: u32, heads: u32, head_dim: u32 },
    /// Keys and values written in one call.
    CacheUpdate { users: u32, kv_heads: u32, head_dim: u32 },
    /// Heads joined.
    ConcatHeads { users: u32, heads: u32, head_dim: u32 },
    /// Heads resharded, joined, and brought to interleaved memory.
    JoinHeads { users: u32, heads: u32, head_dim: u32 },
    /// Residual addition.
    Add { columns: u32 },
    /// SiLU of one factor, and the product.
    MulSilu { columns: u32 },
    /// Rows of the embedding.
    Embedding { columns: u32 },
    /// Tiles to rows.
    Untilize { columns: u32 },
    /// The choice of the tokens of users, on so many cores, or as many as there are when that is 0.
    ArgMax {
        columns: u32,
        #[serde(default = "one")]
        rows: u32,
        #[serde(default)]
        cores: u32,
    },
    /// The increment of the positions.
    PlusOne,
}

/// The rows of a file.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rows {
    /// Whole steps.
    #[serde(default)]
    pub steps: Vec<StepRow>,
    /// Times to the first token.
    #[serde(default)]
    pub prefills: Vec<PrefillRow>,
    /// Single calls.
    #[serde(default)]
    pub calls: Vec<CallRow>,
}

const fn one() -> u32 {
    1
}

/// Keys that tt_transformers reads at a time on Wormhole.
const fn chunk() -> u32 {
    256
}

/// The grid on which tt_transformers runs attention.
const fn grid() -> (u32, u32) {
    (8, 8)
}

/// The position at which a plan is priced for a row that gives none: the published rows have contexts of about 256 tokens.
pub const POSITION: u32 = 255;

/// The demo of tt_transformers generates 200 tokens after a prompt of 128. Every 24th of its positions is priced.
const DEMO: std::ops::Range<u32> = 128..328;

/// The reasons for which a file of rows is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RowsError {
    /// The file does not have the form of [`Rows`].
    #[error("{path}:{position}: {reason}")]
    Syntax {
        /// As given.
        path: String,
        /// Line and column.
        position: String,
        /// The mistake.
        reason: String,
    },
    /// A figure that no measurement has.
    #[error("{path}: {row}: {field} is {found}, expected {expected}")]
    Range {
        /// As given.
        path: String,
        /// The row.
        row: String,
        /// The field.
        field: &'static str,
        /// Its value.
        found: String,
        /// The value or form that would be accepted.
        expected: &'static str,
    },
    /// A precision that does not exist.
    #[error("{path}: {row}: {reason}")]
    Set {
        /// As given.
        path: String,
        /// The row.
        row: String,
        /// The mistake.
        reason: String,
    },
}

impl Rows {
    /// The published rows.
    ///
    /// # Errors
    /// None for the file as shipped; a test reads it.
    pub fn published() -> Result<Rows, RowsError> {
        Rows::parse("compiler/lab/measured.ron", include_str!("measured.ron"))
    }

    /// The rows of a file's text; `path` is for its errors.
    ///
    /// # Errors
    /// When the text does not have the form of [`Rows`], or a figure is out of range.
    pub fn parse(path: &str, text: &str) -> Result<Rows, RowsError> {
        // A position is written without `Some` around it.
        let ron = ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME);
        let rows: Rows = ron.from_str(text).map_err(|e| RowsError::Syntax {
            path: path.to_string(),
            position: e.span.start.to_string(),
            reason: e.code.to_string(),
        })?;
        for row in &rows.steps {
            row.validate(path)?;
        }
        for row in &rows.prefills {
            row.validate(path)?;
        }
        for row in &rows.calls {
            row.validate(path)?;
        }
        Ok(rows)
    }
}

impl StepRow {
    /// The precision that [`StepRow::set`] asks for.
    ///
    /// # Errors
    /// When the text is not an override.
    pub fn overrides(&self) -> Result<Vec<Override>, bitnetc_compiler::policy::PolicyError> {
        overrides(&self.set)
    }

    /// The positions over which a measured schedule of tt_transformers is priced.
    pub fn positions(&self) -> Vec<u32> {
        self.position.map_or_else(|| DEMO.step_by(24).collect(), |position| vec![position])
    }

    /// The name of its setting in a table, with the batch and the position where they are not those of the published rows.
    pub fn setting(&self) -> String {
        let mut text = match () {
            () if !self.label.is_empty() => self.label.clone(),
            () if self.set.is_empty() => "as balanced".into(),
            () => self.set.join(" "),
        };
        if self.batch != one() {
            text.push_str(&format!(", batch {}", self.batch));
        }
        if let Some(position) = self.position {
            text.push_str(&format!(", position {position}"));
        }
        text
    }
}

impl PrefillRow {
    /// The precision that [`PrefillRow::set`] asks for.
    ///
    /// # Errors
    /// When the text is not an override.
    pub fn overrides(&self) -> Result<Vec<Override>, bitnetc_compiler::policy::PolicyError> {
        overrides(&self.set)
    }
}

/// The balanced policy's precision of ternary weights for dense ones too, then `set`.
fn overrides(set: &[String]) -> Result<Vec<Override>, bitnetc_compiler::policy::PolicyError> {
    let ternary = ["gate=bfp4", "up=bfp4", "decode:gate=/LoFi", "decode:up=/LoFi"];
    ternary.into_iter().chain(set.iter().map(String::as_str)).map(str::parse).collect()
}

impl CallRow {
    /// The middle between the least and the largest time.
    pub fn middle_us(&self) -> f64 {
        f64::midpoint(self.us.0, self.us.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_rows_are_read_and_six_were_fitted() {
        let rows = Rows::published().unwrap();
        assert_eq!(rows.steps.iter().filter(|r| r.used == Use::Fit).count(), 6);
        assert!(rows.steps.iter().all(|r| !r.source.is_empty()) && rows.calls.iter().all(|r| !r.source.is_empty()));
        assert!(rows.prefills.iter().all(|r| !r.source.is_empty()));
    }
}
