//! Levers as a document.

use bitnetc_lab::levers::{BUCKET, Distance, Lever, Share};
use bitnetc_plan::Cost;
use schemars::JsonSchema;
use serde::Serialize;

use super::Case;
use crate::document::{self, Content};

/// What each known lever is predicted to be worth. Times are microseconds, predicted unless `how` says measured.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "LeversDocument")]
pub struct Document {
    model: String,
    /// The position at which attention is priced.
    position: u32,
    /// One for each target and batch.
    cases: Vec<CaseDocument>,
}

impl Content for Document {
    const KIND: &'static str = "levers";
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Case")]
struct CaseDocument {
    target: String,
    batch: u32,
    /// The policy of the plan from which levers are moved.
    policy: String,
    /// A decode step under each policy, beside the time of reading its weights.
    distances: Vec<DistanceDocument>,
    /// The levers of decode, each by itself.
    levers: Vec<LeverDocument>,
    /// Tokens of the prefill of which the next lever is.
    prefill_tokens: u32,
    prefill: LeverDocument,
    /// The plan's steps, those first that lose most against the peak of the DRAM.
    steps: Vec<ShareDocument>,
}

/// A decode step of a policy.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Distance")]
struct DistanceDocument {
    policy: String,
    /// Null where there is no plan.
    device_us: Option<f64>,
    host_us: Option<f64>,
    /// Least and largest time on the card that the bands of the constants leave possible; null where there is no plan.
    band_us: Option<(f64, f64)>,
    /// Bytes of weights that a step reads.
    weight_bytes: u64,
    /// Their time at the DRAM's peak.
    floor_us: f64,
    /// Why there is no plan.
    note: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Lever")]
struct LeverDocument {
    name: String,
    from: String,
    to: String,
    /// In the two positions; null where there is no figure.
    from_us: Option<f64>,
    to_us: Option<f64>,
    /// The least and the largest saving that the bands of the constants leave possible; null where there is no figure.
    saved_band_us: Option<(f64, f64)>,
    /// Whether that band leaves open which of the two positions is the faster.
    open: bool,
    /// Where the figures are from.
    how: String,
    /// On the comparison, or why there is no figure.
    note: String,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Share")]
struct ShareDocument {
    step: String,
    times: u32,
    /// Of one run.
    predicted: Cost,
    /// What all runs take beyond their bytes' time at the DRAM's peak.
    above_dram_us: f64,
}

/// The document as text.
pub fn text(model: &str, position: u32, cases: &[Case]) -> miette::Result<String> {
    document::text(&Document { model: model.into(), position, cases: cases.iter().map(case).collect() })
}

fn case(case: &Case) -> CaseDocument {
    let found = &case.found;
    CaseDocument {
        target: case.target.card.name.clone(),
        batch: case.batch,
        policy: found.policy.to_string(),
        distances: found.distances.iter().map(distance).collect(),
        levers: found.levers.iter().map(lever).collect(),
        prefill_tokens: BUCKET,
        prefill: lever(&found.prefill),
        steps: found.shares.iter().map(|share| of_share(share, case)).collect(),
    }
}

fn distance(distance: &Distance) -> DistanceDocument {
    let us = distance.us.as_ref();
    DistanceDocument {
        policy: distance.policy.to_string(),
        device_us: us.ok().map(|(device, _)| *device),
        host_us: us.ok().map(|(_, host)| *host),
        band_us: us.ok().map(|_| distance.band_us),
        weight_bytes: distance.weight_bytes,
        floor_us: distance.floor_us,
        note: us.err().cloned(),
    }
}

fn lever(lever: &Lever) -> LeverDocument {
    let us = lever.us.as_ref();
    let note = us.err().into_iter().chain(Some(&lever.note)).filter(|note| !note.is_empty());
    LeverDocument {
        name: lever.name.clone(),
        from: lever.positions.0.clone(),
        to: lever.positions.1.clone(),
        from_us: us.ok().map(|(from, _)| *from),
        to_us: us.ok().map(|(_, to)| *to),
        saved_band_us: us.ok().map(|_| lever.band_us),
        open: lever.is_open(),
        how: lever.how.to_string(),
        note: note.cloned().collect::<Vec<_>>().join("; "),
    }
}

fn of_share(share: &Share, case: &Case) -> ShareDocument {
    ShareDocument {
        step: share.name.clone(),
        times: share.times,
        predicted: share.cost,
        above_dram_us: share.above_dram_us(&case.target),
    }
}
