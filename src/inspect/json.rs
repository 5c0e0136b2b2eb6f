//! The plan as JSON: the figures of the tables, unrounded, for tools.

use bitnetc_plan::verify::DramUse;
use bitnetc_plan::walk::StepMemory;
use bitnetc_plan::{Section, Step, Value as PlanValue};
use serde_json::{Value, json};

use super::View;
use super::summary::Counts;

pub fn document(view: &View) -> serde_json::Result<String> {
    serde_json::to_string_pretty(&value(view)).map(|text| text + "\n")
}

pub fn value(view: &View) -> Value {
    let plan = view.plan;
    let phases: Vec<Value> = (0..plan.phases.len()).map(|i| phase(view, i)).collect();
    let dram = view.verified.map(|v| {
        let DramUse { weights, buffers, values, traces, kernels } = v.dram();
        json!({ "bank_bytes": { "weights": weights, "buffers": buffers, "values": values, "traces": traces, "kernels": kernels } })
    });
    json!({
        "format": plan.format,
        "model": plan.model,
        "options": plan.options,
        "card": plan.card,
        "sound": view.verified.is_some(),
        "dram": dram,
        "phases": phases,
    })
}

/// A phase; with its steps when it is chosen, or when none is.
fn phase(view: &View, number: usize) -> Value {
    let phase = &view.plan.phases[number];
    let walk = view.walk(number);
    let counts = Counts::new(view.plan, phase, walk);
    let mut document = json!({
        "phase": phase.kind.to_string(),
        "calls_per_layer": counts.layer_calls,
        "programs_per_layer": counts.layer_programs,
        "programs": counts.programs,
        "predicted_us": phase.cost.device_us,
        "predicted_host_us": phase.cost.host_us,
        "predicted_dram_bytes": phase.cost.dram_bytes,
        "l1_high_water": counts.high_water,
        "l1_high_water_step": counts.highest,
        "trace": phase.trace,
        "results": phase.results,
    });
    if !view.phases.is_empty() && !view.phases.contains(&number) {
        return document;
    }
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
    document["steps"] = steps.into();
    document
}

fn step(step: &Step, section: Section, memory: Option<&StepMemory>, view: &View) -> Value {
    let roofline = view
        .roofline
        .map(|r| json!({ "dram_us": r.dram_us(step.cost.dram_bytes), "fpu_us": r.fpu_us(step.cost.fpu_cycles) }));
    let output = |v: &PlanValue| json!({ "name": v.name, "spec": v.spec.to_string(), "shape": v.spec.shape, "dtype": v.spec.dtype, "padding": v.padding, "address": v.address });
    let mut document = json!({
        "section": format!("{section:?}").to_lowercase(),
        "name": step.name,
        "call": format!("ttnn.{}", step.op.call()),
        "arguments": step.op,
        "outputs": step.outputs.iter().map(output).collect::<Vec<_>>(),
        "programs": memory.and_then(|m| m.outcome.as_ref()).map(|o| o.programs),
        "l1": { "circular_buffers": step.l1.circular_buffers, "tensors": step.l1.tensors, "high_water": step.l1.high_water() },
        "predicted": step.cost,
        "roofline": roofline,
        "note": step.note,
    });
    if let (true, Some(memory)) = (view.memory, memory) {
        let live = memory.live.iter().map(|r| json!({ "name": r.name, "address": r.address, "bytes": r.bytes }));
        document["l1"]["live"] = live.collect::<Vec<_>>().into();
    }
    document
}
