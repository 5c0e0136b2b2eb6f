//! The steps of the chosen arcs: the reshards and the candidates' drafts, with each value named after the tensor that holds it at that
//! point.

use std::collections::HashMap;
use std::time::Duration;

use bitnetc_plan::op::ToMemoryConfig;
use bitnetc_plan::{Footprint, Op, Ref, Step, Value, Weight};

use super::arcs::{Arc, Placements, reshard_cost};
use super::{Choices, Placed, Record};
use crate::graph::Section;
use crate::schedule::{Call, Kind, ValueId};
use crate::ttnn::cost::Price;
use crate::ttnn::{Context, Ways};

/// Why a product by kernels of bitnetc's own can stand for one by TT-NN's.
const SAME_NUMBERS: &str = "bfp2 holds the same numbers";

/// The placement of a value at a point of the section, and the name of the tensor that holds it there.
#[derive(Debug, Clone)]
struct Home {
    name: String,
    memory: bitnetc_plan::MemoryConfig,
}

/// Steps, weights and record of all sections.
pub fn steps(
    cx: &Context<'_>,
    placements: &Placements<'_>,
    choices: &Choices,
    mut ways: HashMap<Section, Vec<Ways>>,
) -> Placed {
    let mut homes: HashMap<ValueId, Home> = HashMap::new();
    let (mut weights, mut buffers) = (Vec::new(), Vec::new());
    let mut record = Vec::new();
    let mut sections = Section::ALL.map(|section| {
        let mut steps = Vec::new();
        let calls = cx.schedule.section(section).iter();
        let found = ways.remove(&section).unwrap_or_default();
        for ((call, ways), arc) in calls.zip(found).zip(&choices[&section]) {
            let reshards = call_steps(cx, placements, call, &ways, arc, &mut homes, &mut steps);
            weights.extend(ways.candidates[arc.candidate].weights.iter().cloned());
            buffers.extend(ways.candidates[arc.candidate].buffers.iter().cloned());
            record.push(Record { section, call: call.clone(), ways, chosen: arc.candidate, reshards });
        }
        steps
    });
    let [prologue, layer, epilogue] = sections.each_mut().map(std::mem::take);
    let weights: Vec<Weight> = weights;
    Placed {
        prologue,
        layer,
        epilogue,
        weights,
        buffers,
        price: Price::default(),
        record,
        states: 0,
        enumerating: Duration::ZERO,
    }
}

/// Adds the steps of one call and returns the values that were resharded for it.
fn call_steps(
    cx: &Context<'_>,
    placements: &Placements<'_>,
    call: &Call,
    ways: &Ways,
    arc: &Arc,
    homes: &mut HashMap<ValueId, Home>,
    steps: &mut Vec<Step>,
) -> Vec<(String, String)> {
    // The drafts name their operands as the schedule does; these are the names of the tensors that are read instead.
    let mut names: HashMap<String, String> = HashMap::new();
    for value in call.values() {
        if let Some(home) = homes.get(&value) {
            names.insert(cx.schedule.values[value].name.clone(), home.name.clone());
        }
    }
    let mut moved = Vec::new();
    for (at, reshard) in arc.reshards.iter().enumerate() {
        let Some(home) = homes.get(&reshard.value).cloned() else { continue };
        let name = if arc.reshards.len() == 1 { format!("{}.in", call.name) } else { format!("{}.in{at}", call.name) };
        let memory = placements.get(reshard.to).clone();
        moved.push((home.name.clone(), memory.to_string()));
        steps.push(reshard_step(cx, &name, reshard.value, &home, &memory));
        names.insert(cx.schedule.values[reshard.value].name.clone(), name.clone());
        if reshard.replaces {
            homes.insert(reshard.value, Home { name, memory });
        }
    }
    let candidate = &ways.candidates[arc.candidate];
    for draft in &candidate.drafts {
        let mut op = draft.op.clone();
        for operand in op.operands_mut() {
            if let Ref::Value(name) = operand
                && let Some(actual) = names.get(name)
            {
                name.clone_from(actual);
            }
        }
        let outputs = draft.outputs.iter().map(|(name, spec)| Value {
            name: name.clone(),
            spec: spec.clone(),
            padding: None,
            address: None,
        });
        steps.push(Step {
            name: draft.name.clone(),
            op,
            outputs: outputs.collect(),
            l1: Footprint { circular_buffers: draft.circular_buffers, tensors: 0 },
            cost: draft.cost,
            note: if draft.name == call.name { note(call, &draft.op) } else { String::new() },
        });
    }
    for (id, spec) in call.outputs.iter().zip(&candidate.produces) {
        homes.insert(*id, Home { name: cx.schedule.values[*id].name.clone(), memory: spec.memory.clone() });
    }
    moved
}

/// The note on the proof of a step's precision, which is of the weight that its call reads by TT-NN's kernels.
fn note(call: &Call, op: &Op) -> String {
    let own = matches!(
        (op, &call.kind),
        (Op::TernaryLinear(_), Kind::Matmul { two_bits: Some(_), .. }) | (Op::TernaryGated(_), _)
    );
    match (own, call.note.as_str()) {
        (true, "") => SAME_NUMBERS.into(),
        (true, note) => format!("{note}; {SAME_NUMBERS}"),
        (false, note) => note.into(),
    }
}

fn reshard_step(cx: &Context<'_>, name: &str, value: ValueId, from: &Home, to: &bitnetc_plan::MemoryConfig) -> Step {
    // The search has priced this reshard, so TT-NN is known to accept it.
    let (cost, circular_buffers) = reshard_cost(cx, value, &from.memory, to).unwrap_or_default();
    Step {
        name: name.to_string(),
        op: ToMemoryConfig { input: Ref::Value(from.name.clone()), memory: to.clone() }.into(),
        outputs: vec![Value { name: name.to_string(), spec: cx.spec(value, to.clone()), padding: None, address: None }],
        l1: Footprint { circular_buffers, tensors: 0 },
        cost,
        note: String::new(),
    }
}
