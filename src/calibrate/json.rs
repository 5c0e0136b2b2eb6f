//! The cost model beside measurements as a document.

use bitnetc_compiler::target::Target;
use bitnetc_lab::profile::Measured;
use bitnetc_lab::rows::{CallRow, Rows, StepRow, Use};
use bitnetc_plan::{Plan, Section};
use schemars::JsonSchema;
use serde::Serialize;

use super::Cards;
use crate::document::{self, Content};
use crate::input;

/// The cost model beside measurements: published ones, or with --profile a person's own.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[schemars(rename = "Calibrated")]
pub struct Document {
    /// Published decode steps.
    decode_steps: Vec<StepDocument>,
    /// Published calls.
    calls: Vec<CallDocument>,
    /// With --profile: the steps of the plan that were measured.
    profiled: Vec<Profiled>,
}

impl Content for Document {
    const KIND: &'static str = "calibrate";
}

/// What a measurement was used for when the cost model was fitted.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Used {
    /// Nothing.
    Not,
    /// The constants were fitted to it.
    Fitted,
    /// The named constants were read off it.
    ReadOff(String),
}

impl From<&Use> for Used {
    fn from(used: &Use) -> Self {
        match used {
            Use::None => Used::Not,
            Use::Fit => Used::Fitted,
            Use::Sets(names) => Used::ReadOff(names.clone()),
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "DecodeStep")]
struct StepDocument {
    card: String,
    model: String,
    setting: String,
    used: Used,
    measured_tokens_per_s: f64,
    /// Null where the cost model cannot price it.
    predicted_tokens_per_s: Option<f64>,
    /// Least and most that the bands of the cost model's constants leave possible; null where that is not known.
    predicted_band_tokens_per_s: Option<(f64, f64)>,
    /// Predicted microseconds on the card, without the host.
    predicted_device_us: Option<f64>,
    /// Of a plan by bitnetc.
    plan_tokens_per_s: Option<f64>,
    source: String,
    note: String,
    /// Why something is null.
    errors: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Call")]
struct CallDocument {
    card: String,
    call: String,
    /// Whether only its kernels were measured.
    kernel: bool,
    used: Used,
    /// The least and the most.
    measured_us: (f64, f64),
    predicted_us: Option<f64>,
    /// Least and most that the bands of the cost model's constants leave possible.
    predicted_band_us: Option<(f64, f64)>,
    source: String,
    note: String,
    errors: Vec<String>,
}

/// A step of a plan, its kernels measured and predicted in microseconds.
#[derive(Debug, Serialize, JsonSchema)]
struct Profiled {
    phase: String,
    /// `prologue`, `layer`, `epilogue`.
    section: String,
    step: String,
    call: String,
    /// How often it runs in the phase.
    times: u32,
    /// Runs that were measured.
    runs: usize,
    mean_us: f64,
    least_us: f64,
    most_us: f64,
    predicted_us: f64,
}

/// The document of published rows.
pub fn of_rows(rows: &Rows, cards: &Cards) -> miette::Result<String> {
    let steps = cards.of(&rows.steps, |row| &row.target).map(|(target, row)| step(target, row));
    let calls = cards.of(&rows.calls, |row| &row.target).map(|(target, row)| call(target, row));
    let decode_steps = steps.collect::<miette::Result<_>>()?;
    document::text(&Document { decode_steps, calls: calls.collect(), profiled: Vec::new() })
}

fn step(target: &Target, row: &StepRow) -> miette::Result<StepDocument> {
    let model = input::model(&row.model)?;
    let (priced, plan) = (row.predict(&model, target), row.plan(&model, target));
    let errors = [priced.as_ref().err().map(ToString::to_string), plan.as_ref().err().map(ToString::to_string)];
    let priced = priced.ok();
    Ok(StepDocument {
        card: target.card.name.clone(),
        model: row.model.clone(),
        setting: row.setting(),
        used: (&row.used).into(),
        measured_tokens_per_s: row.tokens_per_s,
        predicted_tokens_per_s: priced.as_ref().map(|step| step.tokens_per_s()),
        predicted_band_tokens_per_s: row.band_us(&model, target).map(|(least, most)| (1e6 / most, 1e6 / least)),
        predicted_device_us: priced.as_ref().map(|step| step.device_us()),
        plan_tokens_per_s: plan.ok().map(|step| step.tokens_per_s()),
        source: row.source.clone(),
        note: row.note.clone(),
        errors: errors.into_iter().flatten().collect(),
    })
}

fn call(target: &Target, row: &CallRow) -> CallDocument {
    let predicted = row.predict(target);
    CallDocument {
        card: target.card.name.clone(),
        call: row.what.clone(),
        kernel: row.kernel,
        used: (&row.used).into(),
        measured_us: row.us,
        source: row.source.clone(),
        note: row.note.clone(),
        errors: predicted.as_ref().err().map(ToString::to_string).into_iter().collect(),
        predicted_us: predicted.ok(),
        predicted_band_us: row.band_us(target),
    }
}

/// The document of a person's own measurements.
pub fn of_profile(plan: &Plan, measured: &[Measured<'_>]) -> miette::Result<String> {
    let profiled = measured.iter().map(|step| {
        let (planned, (least_us, most_us)) = (&step.planned, step.range());
        Profiled {
            phase: planned.phase.to_string(),
            section: format!("{:?}", planned.section).to_lowercase(),
            step: planned.step.name.clone(),
            call: format!("ttnn.{}", planned.step.op.call()),
            times: if planned.section == Section::Layer { plan.model.layers } else { 1 },
            runs: step.runs.len(),
            mean_us: step.mean(),
            least_us,
            most_us,
            predicted_us: planned.us,
        }
    });
    document::text(&Document { profiled: profiled.collect(), ..Document::default() })
}
