//! The plan as a document: the figures of the tables, unrounded, for tools.

use bitnetc_plan::walk::StepMemory;
use bitnetc_plan::{Card, Cost, DType, ModelInfo, Op, Options, Padding, Section, Step, Trace, Value as PlanValue};
use schemars::JsonSchema;
use serde::Serialize;

use super::View;
use super::summary::Counts;
use crate::document::{self, Content};

/// A plan.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Inspected")]
pub struct Document {
    /// Version of the plan's format.
    plan_format: u32,
    /// The release of TT-NN that it is made for.
    release: String,
    /// The model.
    model: ModelInfo,
    /// The choices that it was compiled with.
    options: Options,
    /// The card.
    card: Card,
    /// Whether it verifies.
    sound: bool,
    /// What is in DRAM; null for a plan with defects.
    dram: Option<Dram>,
    /// Its phases.
    phases: Vec<Phase>,
}

impl Content for Document {
    const KIND: &'static str = "inspect";
}

#[derive(Debug, Serialize, JsonSchema)]
struct Dram {
    bank_bytes: BankBytes,
}

/// Bytes of every DRAM bank.
#[derive(Debug, Serialize, JsonSchema)]
struct BankBytes {
    weights: u64,
    buffers: u64,
    values: u64,
    traces: u64,
    kernels: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Phase {
    /// `decode`, `prefill 128`.
    phase: String,
    /// Calls of one layer, deallocations apart.
    calls_per_layer: usize,
    /// Device programs of one layer; null for a plan with defects.
    programs_per_layer: Option<u64>,
    /// Device programs of the phase.
    programs: Option<u64>,
    /// Predicted microseconds on the card.
    predicted_us: f64,
    /// Least and largest of them that the bands of the cost model's constants leave possible.
    predicted_band_us: (f64, f64),
    /// Microseconds of them in which no program could start because it was not dispatched yet.
    predicted_waits_us: f64,
    /// Predicted microseconds of decode at other positions than the one the plan was priced at.
    predicted_at_positions: Vec<AtPosition>,
    /// Predicted microseconds of host work; null where it is not predicted.
    predicted_host_us: Option<f64>,
    /// Bytes read from and written to DRAM.
    predicted_dram_bytes: u64,
    /// Most L1 bytes per core at once.
    l1_high_water: u64,
    /// The step at which that is.
    l1_high_water_step: String,
    /// How it is captured; null when it is not.
    trace: Option<Trace>,
    /// Values that are alive at its end.
    results: Vec<String>,
    /// Its steps with one layer for all; absent from phases that were not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<Vec<StepDocument>>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct AtPosition {
    position: u32,
    us: f64,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Step")]
struct StepDocument {
    /// `prologue`, `layer`, `epilogue`.
    section: String,
    name: String,
    /// `ttnn.linear`.
    call: String,
    arguments: Op,
    outputs: Vec<Output>,
    /// Device programs; null for a plan with defects and for deallocations.
    programs: Option<u32>,
    l1: L1,
    predicted: Cost,
    /// The time at the card's peaks; null where no shipped target has the card.
    roofline: Option<Peaks>,
    /// What was proved or decided for it.
    note: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Output {
    name: String,
    /// In short: `[1, 1, 32, 2560] bf16 L1 WS[32,64] on 8x5`.
    spec: String,
    shape: Vec<u32>,
    dtype: DType,
    padding: Option<Padding>,
    address: Option<u64>,
}

/// L1 bytes per core.
#[derive(Debug, Serialize, JsonSchema)]
struct L1 {
    circular_buffers: u64,
    /// From the lowest live tensor to the end of L1.
    tensors: u64,
    high_water: u64,
    /// The tensors in L1 while it runs, lowest address first; only with --memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<Vec<Live>>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Live {
    name: String,
    address: u64,
    bytes: u64,
}

/// Microseconds at the card's peaks.
#[derive(Debug, Serialize, JsonSchema)]
struct Peaks {
    dram_us: f64,
    fpu_us: f64,
}

/// The document as text.
pub fn document(view: &View) -> miette::Result<String> {
    document::text(&content(view))
}

/// The same as a value, without what makes a document of it.
pub fn value(view: &View) -> serde_json::Value {
    serde_json::to_value(content(view)).unwrap_or_default()
}

/// What is said of the part of a plan that was asked for.
pub fn content(view: &View) -> Document {
    let plan = view.plan;
    let dram = view.verified.map(|verified| {
        let found = verified.dram();
        let (weights, buffers, values) = (found.weights, found.buffers, found.values);
        Dram { bank_bytes: BankBytes { weights, buffers, values, traces: found.traces, kernels: found.kernels } }
    });
    Document {
        plan_format: plan.format,
        release: plan.release.clone(),
        model: plan.model.clone(),
        options: plan.options.clone(),
        card: plan.card.clone(),
        sound: view.verified.is_some(),
        dram,
        phases: (0..plan.phases.len()).map(|number| phase(view, number)).collect(),
    }
}

/// A phase; with its steps when it is chosen, or when none is.
fn phase(view: &View, number: usize) -> Phase {
    let phase = &view.plan.phases[number];
    let walk = view.walk(number);
    let counts = Counts::new(view.plan, phase, walk);
    let asked = view.phases.is_empty() || view.phases.contains(&number);
    let steps = asked.then(|| {
        let mut memory = walk.map(|w| w.steps.iter());
        let mut steps = Vec::new();
        for section in Section::ALL {
            for item in phase.section(section) {
                let memory = memory.as_mut().and_then(Iterator::next);
                if view.layer.is_none() || section == Section::Layer {
                    steps.push(step(item, section, memory, view));
                }
            }
        }
        steps
    });
    Phase {
        phase: phase.kind.to_string(),
        calls_per_layer: counts.layer_calls,
        programs_per_layer: counts.layer_programs,
        programs: counts.programs,
        predicted_us: phase.cost.device_us,
        predicted_band_us: phase.cost.band_us,
        predicted_waits_us: phase.cost.waits_us,
        predicted_at_positions: phase
            .cost
            .positions
            .iter()
            .map(|&(position, us)| AtPosition { position, us })
            .collect(),
        predicted_host_us: phase.cost.host_us,
        predicted_dram_bytes: phase.cost.dram_bytes,
        l1_high_water: counts.high_water,
        l1_high_water_step: counts.highest,
        trace: phase.trace.clone(),
        results: phase.results.clone(),
        steps,
    }
}

fn step(step: &Step, section: Section, memory: Option<&StepMemory>, view: &View) -> StepDocument {
    let live = memory.filter(|_| view.memory).map(|memory| {
        let live = memory.live.iter();
        live.map(|r| Live { name: r.name.clone(), address: r.address, bytes: r.bytes }).collect()
    });
    StepDocument {
        section: format!("{section:?}").to_lowercase(),
        name: step.name.clone(),
        call: format!("ttnn.{}", step.op.call()),
        arguments: step.op.clone(),
        outputs: step.outputs.iter().map(output).collect(),
        programs: memory.and_then(|m| m.outcome.as_ref()).map(|o| o.programs),
        l1: L1 {
            circular_buffers: step.l1.circular_buffers,
            tensors: step.l1.tensors,
            high_water: step.l1.high_water(),
            live,
        },
        predicted: step.cost,
        roofline: view
            .roofline
            .map(|r| Peaks { dram_us: r.dram_us(step.cost.dram_bytes), fpu_us: r.fpu_us(step.cost.fpu_cycles) }),
        note: step.note.clone(),
    }
}

fn output(value: &PlanValue) -> Output {
    Output {
        name: value.name.clone(),
        spec: value.spec.to_string(),
        shape: value.spec.shape.clone(),
        dtype: value.spec.dtype,
        padding: value.padding,
        address: value.address,
    }
}
