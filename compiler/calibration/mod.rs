//! Calibration: published decode speeds against what the cost model says of the schedule that was measured.
//!
//! The rows are those of tt_transformers' performance page (N150, one user, about 256 tokens of context); *performance* runs the MLP's
//! gate and up projections in bfp4 LoFi, *accuracy* in bfp8 HiFi2, everything else in bfp8 HiFi2. What was measured is
//! not our plan but that library's schedule, so that one is priced here, call by call, by the same rules and cost functions:
//!
//! - projections are DRAM-sharded; the input's cores divide K and N (MLP), are as many as the query heads (O) or, among the divisors of
//!   K, the nearest to 32 (QKV), and the K-block is the largest divisor of an input shard's tiles up to 8;
//! - q and k are rotated by two calls, keys and values cached by two; QKV leaves its shards for the head split, attention's result enters
//!   height shards for the concatenation;
//! - three reshards a layer keep their cost. The library asks for more; those whose placements agree cost nothing. Which do is not
//!   published, the count is the fit's;
//! - the LM head is cut into chunks of at most 668 columns per core, each brought to interleaved memory, then joined;
//! - the step ends in a host loop that samples: `host_sampling_us`.
//!
//! All six rows were used for the fit: they decide `period_us`, `host_sampling_us` and the K-block constants of `dram_sharded`, which no
//! other published figure separates. Their error is that of a fit, not of a prediction.

mod reference;

pub use reference::{Call, Step, reference};

use bitnetc_plan::ttnn::Violation;

use crate::graph::{Op, Phase, Role, TypeError};
use crate::model::{Model, PhaseError};
use crate::passes::prepare;
use crate::policy::Policy;

/// How a row was run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// Gate and up in bfp4 LoFi.
    Performance,
    /// Gate and up in bfp8 HiFi2.
    Accuracy,
}

impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if *self == Setting::Performance { "performance" } else { "accuracy" })
    }
}

/// A published measurement on an N150.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// Name of the shipped model.
    pub model: &'static str,
    /// How it was run.
    pub setting: Setting,
    /// Tokens per second of one user.
    pub measured: f64,
}

const fn measured(model: &'static str, setting: Setting, measured: f64) -> Row {
    Row { model, setting, measured }
}

/// The rows, all of which the fit used.
pub const ROWS: [Row; 6] = [
    measured("llama-3.2-1b", Setting::Performance, 87.8),
    measured("llama-3.2-1b", Setting::Accuracy, 84.7),
    measured("llama-3.1-8b", Setting::Performance, 28.3),
    measured("llama-3.1-8b", Setting::Accuracy, 25.2),
    measured("phi-3-mini-128k", Setting::Performance, 45.0),
    measured("phi-3-mini-128k", Setting::Accuracy, 40.4),
];

/// The position at which the rows are priced: their contexts are about 256 tokens.
pub const POSITION: u32 = 255;

/// The sizes of a Llama-like model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Layers.
    pub layers: u32,
    /// Columns of the residual stream.
    pub hidden: u32,
    /// Columns of the MLP's product.
    pub ffn: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads.
    pub kv_heads: u32,
    /// Columns of a head.
    pub head_dim: u32,
    /// Rows of the LM head.
    pub vocab: u32,
}

/// Why a row cannot be priced.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    /// The model has no decode phase.
    #[error(transparent)]
    Phase(#[from] PhaseError),
    /// Fusing broke the graph: a defect of bitnetc.
    #[error(transparent)]
    Type(#[from] TypeError),
    /// The reference schedule needs what the model has not.
    #[error("{model} has no {missing}, so it is no Llama-like model and its schedule is not known")]
    Unlike {
        /// The model.
        model: String,
        /// What is missing.
        missing: &'static str,
    },
    /// Our rules refuse a call of the reference schedule.
    #[error("{call}: {}", .violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Refused {
        /// The call.
        call: &'static str,
        /// What it breaks.
        violations: Vec<Violation>,
    },
}

impl Shape {
    /// The sizes of a model, from its decode graph.
    ///
    /// # Errors
    /// When it is not Llama-like.
    pub fn of(model: &Model) -> Result<Self, CalibrationError> {
        let mut graph = model.to_graph(Phase::Decode { batch: 1 }, model.context)?;
        prepare(&mut graph, Policy::Fast, true)?;
        let width = |role: Role, inner: bool, missing| {
            let found = graph.nodes().find_map(|n| match &graph.node(n).op {
                Op::Linear(linear) if graph.node(n).role == role => {
                    Some(if inner { linear.in_width() } else { linear.out_width() } as u32)
                }
                _ => None,
            });
            found.ok_or_else(|| CalibrationError::Unlike { model: model.name.clone(), missing })
        };
        let heads = graph.nodes().find_map(|n| match graph.node(n).op {
            Op::SplitHeads { heads, kv_heads, head_dim } => Some((heads as u32, kv_heads as u32, head_dim as u32)),
            _ => None,
        });
        let missing = || CalibrationError::Unlike { model: model.name.clone(), missing: "attention heads" };
        let (heads, kv_heads, head_dim) = heads.ok_or_else(missing)?;
        Ok(Shape {
            layers: model.layers as u32,
            hidden: width(Role::Qkv, true, "QKV projection")?,
            ffn: width(Role::Down, true, "down projection")?,
            heads,
            kv_heads,
            head_dim,
            vocab: width(Role::LmHead, false, "LM head")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::find;
    use crate::target::Target;

    fn error(row: &Row) -> f64 {
        let shape = Shape::of(&find(row.model).unwrap().model().unwrap()).unwrap();
        let target = Target::find("n150").unwrap();
        reference(&shape, row.setting, &target).unwrap().tokens_per_s() / row.measured - 1.0
    }

    #[test]
    fn every_row_is_predicted_within_five_percent() {
        for row in &ROWS {
            assert!(error(row).abs() < 0.05, "{row:?}: {:+.1} %", 100.0 * error(row));
        }
    }

    #[test]
    fn sizes_come_from_the_graph() {
        let shape = Shape::of(&find("phi-3-mini-128k").unwrap().model().unwrap()).unwrap();
        let expected =
            Shape { layers: 32, hidden: 3072, ffn: 8192, heads: 32, kv_heads: 32, head_dim: 96, vocab: 32064 };
        assert_eq!(shape, expected);
    }
}
