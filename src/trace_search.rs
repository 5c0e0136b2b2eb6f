//! `bitnetc plan --trace-search`: everything that was considered, as JSON.
//!
//! Per phase: precision asked, used and proved; where scales went; per call every legal way with its placements, price and L1, which one
//! was chosen, and every refused one with the constraints it breaks. All times are predictions.

use bitnetc_compiler::passes::Record;
use bitnetc_compiler::passes::precision::Theorem;
use bitnetc_compiler::passes::values::Content;
use bitnetc_compiler::policy::Precision;
use bitnetc_compiler::ttnn::{Candidate, Rejection};
use bitnetc_compiler::{Compiled, PhaseRecord};
use serde_json::{Value, json};

/// The record of a compilation, made with `Options::everything`.
pub fn document(compiled: &Compiled) -> Value {
    let plan = &compiled.plan;
    let passes: Vec<Value> = compiled
        .timings
        .iter()
        .map(|(pass, time)| json!({ "pass": pass, "ms": time.as_secs_f64() * 1000.0 }))
        .collect();
    json!({
        "model": plan.model,
        "options": plan.options,
        "card": plan.card,
        "passes": passes,
        "phases": compiled.record.iter().map(phase).collect::<Vec<_>>(),
    })
}

fn phase(record: &PhaseRecord) -> Value {
    let precision = record.precision.iter().map(|(node, d)| {
        json!({
            "node": node,
            "asked": asked(d.asked),
            "used": asked(d.used),
            "proof": d.proof().map(|proof| proof.to_string()),
            "proved": d.theorems.iter().map(theorem).collect::<Vec<_>>(),
            "activation": content(d.activation),
        })
    });
    let folds = record.folds.iter().map(|f| json!({ "from": f.from, "scale": f.scale.to_string(), "into": f.into }));
    json!({
        "phase": record.kind.to_string(),
        "predicted_us": record.placed.price.us(),
        "states": record.placed.states,
        "l1_reserved": record.reserved,
        "precision": precision.collect::<Vec<_>>(),
        "folds": folds.collect::<Vec<_>>(),
        "calls": record.placed.record.iter().map(call).collect::<Vec<_>>(),
    })
}

fn theorem(theorem: &Theorem) -> Value {
    json!({ "proof": theorem.proof().to_string(), "statement": theorem.statement() })
}

fn content(content: Content) -> Value {
    let grid = content.grid.map(|g| json!({ "exponent": g.exponent, "min": g.min, "max": g.max }));
    json!({ "significant_bits": content.significant_bits, "grid": grid })
}

fn asked(precision: Precision) -> Value {
    json!({ "weight": precision.weight, "fidelity": precision.fidelity, "fp32_dest_acc": precision.fp32_dest_acc })
}

fn call(record: &Record) -> Value {
    let reshards = record.reshards.iter().map(|(value, to)| json!({ "value": value, "to": to }));
    json!({
        "section": format!("{:?}", record.section).to_lowercase(),
        "call": record.call.name,
        "chosen": record.chosen,
        "reshards": reshards.collect::<Vec<_>>(),
        "candidates": record.ways.candidates.iter().map(candidate).collect::<Vec<_>>(),
        "rejections": record.ways.rejections.iter().map(rejection).collect::<Vec<_>>(),
    })
}

fn candidate(way: &Candidate) -> Value {
    json!({
        "what": way.what,
        "requires": way.requires.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "produces": way.produces.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "predicted_us": way.price.us(),
        "work": way.price.work,
        "l1_peak": way.peak,
        "steps": way.drafts.iter().map(|d| json!({ "name": d.name, "predicted": d.cost })).collect::<Vec<_>>(),
    })
}

fn rejection(way: &Rejection) -> Value {
    let broken = way.violations.iter().map(|v| json!({ "constraint": v.id(), "what": v.what(), "hint": v.hint() }));
    json!({ "what": way.what, "breaks": broken.collect::<Vec<_>>() })
}
