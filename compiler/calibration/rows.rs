//! Measurements as data: rows of whole decode steps and of single calls, read from RON.
//!
//! `measured.ron` holds those that were published; a file of the same form holds anybody's own:
//!
//! ```ron
//! (
//!     steps: [(model: "llama-3.2-1b", target: "n150", tokens_per_s: 87.8, set: ["down=/LoFi"], position: 255, batch: 1)],
//!     calls: [(what: "rms_norm 2560", target: "p150", us: (31.6, 31.6), call: Norm(columns: 2560, cores: 8, conversions: true))],
//! )
//! ```

use bitnetc_plan::{DType, Fidelity, TILE};
use serde::Deserialize;

use crate::policy::Override;

/// What the cost model owes a row.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub enum Use {
    /// Nothing: the row was kept out.
    #[default]
    None,
    /// It is one of those the constants were fitted to.
    Fit,
    /// The named constants were read off it, or off the page it is on.
    Sets(String),
}

/// Which schedule was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum Scheduled {
    /// tt_transformers': QKV goes through interleaved memory.
    #[default]
    TtTransformers,
    /// tt_transformers' with QKV kept in shards.
    QkvSharded,
    /// Interleaved throughout: the first schedule of the chain of [`crate::levers`].
    Interleaved,
    /// A plan of bitnetc's.
    Plan,
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
    /// What was measured.
    #[serde(default)]
    pub schedule: Scheduled,
    /// Precision where it differs from the balanced policy's in decode (gate and up bfp4 LoFi, all else bfp8 HiFi2), in the form that
    /// `--set` takes.
    #[serde(default)]
    pub set: Vec<String>,
    /// Users.
    #[serde(default = "one")]
    pub batch: u32,
    /// Position at which attention is priced.
    #[serde(default = "position")]
    pub position: u32,
    /// How a table calls its setting.
    #[serde(default)]
    pub label: String,
    /// Whether the model was fitted to it.
    #[serde(default)]
    pub used: Use,
    /// Who published it.
    #[serde(default)]
    pub source: String,
    /// What is not known of it.
    #[serde(default)]
    pub note: String,
}

/// A call or a few that were measured by themselves.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallRow {
    /// What it is, for a table.
    pub what: String,
    /// Name of the card.
    pub target: String,
    /// Microseconds: least and most.
    pub us: (f64, f64),
    /// The call.
    pub call: Measured,
    /// Only the kernels, without launches and shortest periods.
    #[serde(default)]
    pub kernel: bool,
    /// Whether the model was fitted to it.
    #[serde(default)]
    pub used: Use,
    /// Who published it.
    #[serde(default)]
    pub source: String,
    /// What is not known of it.
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
    /// A norm on so many cores, 0 when interleaved; with the conversions to shards and back.
    Norm {
        columns: u32,
        #[serde(default)]
        cores: u32,
        #[serde(default)]
        conversions: bool,
    },
    /// Attention in decode.
    Attention { users: u32, heads: u32, kv_heads: u32, head_dim: u32, cache: DType, position: u32 },
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
    /// The token of one user.
    ArgMax { columns: u32 },
    /// Positions move on.
    PlusOne,
}

/// Rows of a file.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rows {
    /// Whole steps.
    #[serde(default)]
    pub steps: Vec<StepRow>,
    /// Single calls.
    #[serde(default)]
    pub calls: Vec<CallRow>,
}

const fn one() -> u32 {
    1
}

/// The published rows have contexts of about 256 tokens.
const fn position() -> u32 {
    255
}

/// Why a file of rows is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RowsError {
    /// It is not of the form.
    #[error("{path}:{position}: {reason}")]
    Syntax {
        /// As given.
        path: String,
        /// Line and column.
        position: String,
        /// What is wrong.
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
        /// What would be right.
        expected: &'static str,
    },
    /// A precision that there is not.
    #[error("{path}: {row}: {reason}")]
    Set {
        /// As given.
        path: String,
        /// The row.
        row: String,
        /// What is wrong.
        reason: String,
    },
}

/// Largest width and position taken from a file: prices of more would overflow.
const MOST: u32 = 1 << 20;

impl Rows {
    /// The published rows.
    ///
    /// # Errors
    /// None as shipped: a test reads them.
    pub fn published() -> Result<Rows, RowsError> {
        Rows::parse("compiler/calibration/measured.ron", include_str!("measured.ron"))
    }

    /// The rows of a file's text; `path` is for its errors.
    ///
    /// # Errors
    /// When it is not of the form, or a figure is out of range.
    pub fn parse(path: &str, text: &str) -> Result<Rows, RowsError> {
        let rows: Rows = ron::from_str(text).map_err(|e| RowsError::Syntax {
            path: path.to_string(),
            position: e.span.start.to_string(),
            reason: e.code.to_string(),
        })?;
        for row in &rows.steps {
            row.validate(path)?;
        }
        for row in &rows.calls {
            row.validate(path)?;
        }
        Ok(rows)
    }
}

struct Check<'a> {
    path: &'a str,
    row: &'a str,
}

impl Check<'_> {
    fn that(&self, ok: bool, field: &'static str, found: String, expected: &'static str) -> Result<(), RowsError> {
        let (path, row) = (self.path.to_string(), self.row.to_string());
        if ok { Ok(()) } else { Err(RowsError::Range { path, row, field, found, expected }) }
    }

    fn width(&self, field: &'static str, found: u32) -> Result<(), RowsError> {
        self.that((1..=MOST).contains(&found), field, found.to_string(), "1 to 1048576")
    }

    fn tiles(&self, field: &'static str, found: u32) -> Result<(), RowsError> {
        self.width(field, found)?;
        self.that(found.is_multiple_of(TILE), field, found.to_string(), "a multiple of 32")
    }

    fn few(&self, field: &'static str, found: u32, expected: &'static str, most: u32) -> Result<(), RowsError> {
        self.that((1..=most).contains(&found), field, found.to_string(), expected)
    }

    fn users(&self, found: u32) -> Result<(), RowsError> {
        self.few("users", found, "1 to 32 users", 32)
    }

    fn heads(&self, users: u32, heads: u32, head_dim: u32) -> Result<(), RowsError> {
        self.users(users)?;
        self.few("heads", heads, "1 to 256", 256)?;
        self.tiles("head_dim", head_dim)?;
        self.few("head_dim", head_dim, "32 to 1024", 1024)
    }
}

impl StepRow {
    fn validate(&self, path: &str) -> Result<(), RowsError> {
        let check = Check { path, row: &self.model };
        let measured = self.tokens_per_s;
        check.that(
            measured.is_finite() && measured > 0.0,
            "tokens_per_s",
            measured.to_string(),
            "a positive number",
        )?;
        check.few("batch", self.batch, "1 to 32 users", 32)?;
        check.that(self.position < MOST, "position", self.position.to_string(), "0 to 1048575")?;
        let set = |e: crate::policy::PolicyError| RowsError::Set {
            path: path.to_string(),
            row: self.model.clone(),
            reason: e.to_string(),
        };
        self.overrides().map(|_| ()).map_err(set)
    }

    /// What [`StepRow::set`] says.
    ///
    /// # Errors
    /// When it is not of the form.
    pub fn overrides(&self) -> Result<Vec<Override>, crate::policy::PolicyError> {
        self.set.iter().map(|text| text.parse()).collect()
    }

    /// How a table calls its setting; batch and position where they are not those of the published rows.
    pub fn setting(&self) -> String {
        let mut text = match () {
            () if !self.label.is_empty() => self.label.clone(),
            () if self.set.is_empty() => "as balanced".into(),
            () => self.set.join(" "),
        };
        if self.batch != one() {
            text.push_str(&format!(", batch {}", self.batch));
        }
        if self.position != position() {
            text.push_str(&format!(", position {}", self.position));
        }
        text
    }
}

impl CallRow {
    /// The middle of what was measured.
    pub fn middle_us(&self) -> f64 {
        f64::midpoint(self.us.0, self.us.1)
    }

    fn validate(&self, path: &str) -> Result<(), RowsError> {
        let check = Check { path, row: &self.what };
        let (least, most) = self.us;
        check.that(
            least > 0.0 && most >= least && most.is_finite(),
            "us",
            format!("{:?}", self.us),
            "0 < least <= most",
        )?;
        match self.call {
            Measured::Linear { inner, columns, chunks, .. } => {
                check.tiles("inner", inner)?;
                check.tiles("columns", columns)?;
                check.few("chunks", chunks, "1 to 64", 64)
            }
            Measured::Norm { columns, cores, .. } => {
                check.tiles("columns", columns)?;
                let tiles = columns / TILE;
                let expected = "0, or a number of cores that divides the row's tiles";
                check.that(cores == 0 || tiles.is_multiple_of(cores), "cores", cores.to_string(), expected)
            }
            Measured::Attention { users, heads, kv_heads, head_dim, position, .. } => {
                check.heads(users, heads, head_dim)?;
                check.few("kv_heads", kv_heads, "1 to 256", 256)?;
                check.that(position < MOST, "position", position.to_string(), "0 to 1048575")
            }
            Measured::CreateHeads { users, heads, kv_heads, head_dim } => {
                check.heads(users, heads, head_dim)?;
                check.few("kv_heads", kv_heads, "1 to 256", 256)
            }
            Measured::RotateFused { users, heads, head_dim }
            | Measured::CacheUpdate { users, kv_heads: heads, head_dim }
            | Measured::ConcatHeads { users, heads, head_dim }
            | Measured::JoinHeads { users, heads, head_dim } => check.heads(users, heads, head_dim),
            Measured::ToSharded { columns }
            | Measured::ToInterleaved { columns }
            | Measured::Reshard { columns }
            | Measured::Add { columns }
            | Measured::MulSilu { columns }
            | Measured::Embedding { columns }
            | Measured::Untilize { columns }
            | Measured::ArgMax { columns } => check.tiles("columns", columns),
            Measured::PlusOne => Ok(()),
        }
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
    }

    #[test]
    fn a_wrong_row_is_one_clear_error() {
        let refused = |text: &str| Rows::parse("mine.ron", text).unwrap_err().to_string();
        let step = |rest: &str| refused(&format!("(steps: [(model: \"m\", target: \"n150\", {rest})])"));
        for (text, part) in [
            (step("tokens_per_s: 0"), "mine.ron: m: tokens_per_s is 0, expected a positive number"),
            (step("tokens_per_s: 1, batch: 33"), "batch is 33"),
            (step("tokens_per_s: 1, position: 4294967295"), "position is 4294967295"),
            (step("tokens_per_s: 1, set: [\"down=bfp5\"]"), "no weight type `bfp5`"),
            (step("tokens: 1"), "mine.ron:1:"),
        ] {
            assert!(text.contains(part), "{text}");
        }
        let call =
            |call: &str| refused(&format!("(calls: [(what: \"c\", target: \"n150\", us: (1, 2), call: {call})])"));
        for (text, part) in [
            (call("Add(columns: 33)"), "columns is 33, expected a multiple of 32"),
            (call("Norm(columns: 2560, cores: 7)"), "cores is 7"),
            (call("RotateFused(users: 0, heads: 1, head_dim: 32)"), "users is 0"),
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(
            refused("(calls: [(what: \"c\", target: \"n150\", us: (2, 1), call: PlusOne)])")
                .contains("us is (2.0, 1.0)")
        );
    }
}
