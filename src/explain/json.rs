//! An explanation as a document.

use bitnetc_compiler::explain::{Alternative, Explanation};
use bitnetc_compiler::policy;
use bitnetc_compiler::ttnn::Candidate;
use bitnetc_plan::{Cost, DType, Fidelity, Phase};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Recompiled, because, why_not};
use crate::document::{self, Content};

/// Why a step is as it is.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Explained")]
pub struct Document {
    /// The step.
    step: String,
    /// What a deallocation frees, and after which step; absent for other steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    frees: Option<String>,
    /// What the search knows of it; absent for a deallocation, which has no alternatives.
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Found>,
}

impl Content for Document {
    const KIND: &'static str = "explain";
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Explanation")]
struct Found {
    /// In what the plan differs from one compiled again, which is the one that is explained.
    plan_differs: Vec<String>,
    /// The call that the step belongs to.
    call: String,
    /// `prologue`, `layer`, `epilogue`.
    section: String,
    /// How often it runs.
    times: u32,
    /// Predicted microseconds of the phase.
    phase_us: f64,
    /// Least and largest of them that the bands of the cost model's constants leave possible.
    phase_band_us: (f64, f64),
    /// The way that was chosen.
    chosen: Way,
    /// Its steps, and the reshards before it.
    costs: Vec<Bounded>,
    reads: Vec<Reading>,
    reshards: Vec<Reshard>,
    /// Precision asked and used; null for a call without.
    precision: Option<Decision>,
    /// How its weight is stored, where kernels of bitnetc's own come into question.
    storage: Option<String>,
    folds: Vec<Fold>,
    /// Legal ways in all.
    legal: usize,
    /// The best of them, each with the cheapest phase around it.
    alternatives: Vec<Other>,
    /// Ways that TT-NN refuses.
    refused: usize,
    /// The constraints that rule most of them out.
    refusals: Vec<Refusal>,
}

/// A way to run a call.
#[derive(Debug, Serialize, JsonSchema)]
struct Way {
    what: String,
    /// Where each input is read.
    requires: Vec<String>,
    /// Each output.
    produces: Vec<String>,
    /// Predicted microseconds of one run.
    predicted_us: f64,
    /// L1 bytes per core at its worst.
    l1_peak: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Bounded {
    step: String,
    predicted: Cost,
    /// Microseconds at the DRAM's peak.
    dram_us: f64,
    /// Microseconds at the matrix unit's clock.
    fpu_us: f64,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Reading {
    value: String,
    place: String,
    resharded: bool,
    /// Placements in which other legal ways want it.
    elsewhere: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Reshard {
    step: String,
    value: String,
    from: String,
    to: String,
    because: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Decision {
    asked: Precision,
    used: Precision,
    /// The theorems by which one stands for the other.
    proved: Vec<Theorem>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Precision {
    weight: DType,
    fidelity: Fidelity,
    fp32_dest_acc: bool,
}

impl From<policy::Precision> for Precision {
    fn from(precision: policy::Precision) -> Self {
        let policy::Precision { weight, fidelity, fp32_dest_acc } = precision;
        Precision { weight, fidelity, fp32_dest_acc }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
struct Theorem {
    proof: String,
    statement: String,
}

/// A weight scale that was moved into a constant.
#[derive(Debug, Serialize, JsonSchema)]
struct Fold {
    scale: String,
    from: String,
    into: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Alternative")]
struct Other {
    way: Way,
    /// Ways with the same placements that are no better.
    dominates: usize,
    /// Predicted microseconds by which the phase would be longer; null when it would not fit.
    phase_us: Option<f64>,
    /// Reshards more than now.
    reshards: Option<i64>,
    why_not: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Refusal {
    constraint: String,
    what: String,
    hint: String,
    /// The first way that breaks it.
    example: String,
    ways: usize,
}

/// The document of a deallocation.
pub fn freed(step: &str, frees: &str) -> miette::Result<String> {
    document::text(&Document { step: step.into(), frees: Some(frees.trim_end().into()), explanation: None })
}

/// The document of an explanation, with so many alternatives and constraints.
pub fn text(
    again: &Recompiled,
    found: &Explanation,
    phase: &Phase,
    step: &str,
    limit: usize,
) -> miette::Result<String> {
    let cost = &again.target.cost;
    let drafts = found.chosen.drafts.iter().filter(|d| d.op.launches()).map(|d| (&d.name, d.cost));
    let bounded = |(step, predicted): (&String, Cost)| Bounded {
        step: step.clone(),
        predicted,
        dram_us: predicted.dram_bytes as f64 / (cost.dram_gb_per_s * 1000.0),
        fpu_us: predicted.fpu_cycles as f64 / (cost.clock_ghz * 1000.0),
    };
    let explanation = Found {
        plan_differs: again.differs.clone(),
        call: found.call.name.clone(),
        section: format!("{:?}", found.section).to_lowercase(),
        times: found.times,
        phase_us: phase.cost.device_us,
        phase_band_us: phase.cost.band_us,
        chosen: way(&found.chosen),
        costs: found.moves.iter().map(|m| (&m.step, m.cost)).chain(drafts).map(bounded).collect(),
        reads: found
            .operands
            .iter()
            .map(|reading| Reading {
                value: reading.value.clone(),
                place: reading.wants.to_string(),
                resharded: reading.resharded,
                elsewhere: reading.elsewhere,
            })
            .collect(),
        reshards: found
            .moves
            .iter()
            .map(|moved| Reshard {
                step: moved.step.clone(),
                value: moved.value.clone(),
                from: moved.from.to_string(),
                to: moved.to.to_string(),
                because: because(moved, &found.call.name),
            })
            .collect(),
        precision: found.precision.as_ref().map(|decision| Decision {
            asked: decision.asked.into(),
            used: decision.used.into(),
            proved: decision
                .theorems
                .iter()
                .map(|theorem| Theorem {
                    proof: theorem.proof().to_string(),
                    statement: theorem.statement().to_string(),
                })
                .collect(),
        }),
        storage: found.storage.clone(),
        folds: found
            .folds
            .iter()
            .map(|fold| Fold { scale: fold.scale.to_string(), from: fold.from.clone(), into: fold.into.clone() })
            .collect(),
        legal: found.legal,
        alternatives: found.alternatives.iter().take(limit).map(|other| alternative(found, other)).collect(),
        refused: found.refused,
        refusals: found
            .refusals
            .iter()
            .take(limit)
            .map(|refusal| Refusal {
                constraint: refusal.constraint.clone(),
                what: refusal.what.clone(),
                hint: refusal.hint.clone(),
                example: refusal.example.clone(),
                ways: refusal.ways,
            })
            .collect(),
    };
    document::text(&Document { step: step.into(), frees: None, explanation: Some(explanation) })
}

fn way(candidate: &Candidate) -> Way {
    Way {
        what: candidate.what.clone(),
        requires: candidate.requires.iter().map(ToString::to_string).collect(),
        produces: candidate.produces.iter().map(ToString::to_string).collect(),
        predicted_us: candidate.price.us(),
        l1_peak: candidate.peak,
    }
}

fn alternative(found: &Explanation, other: &Alternative) -> Other {
    let (phase_us, reshards, why_not) = match &other.verdict {
        Ok(forced) => {
            let more = forced.reshard_count as i64 - found.phase_reshards as i64;
            let longer = (forced.price.ns as f64 - found.phase.ns as f64) / 1000.0;
            (Some(longer), Some(more), why_not(found, other, more))
        }
        Err(error) => (None, None, error.to_string()),
    };
    Other { way: way(&other.candidate), dominates: other.dominates, phase_us, reshards, why_not }
}
