//! The reshards before a call: the placements they connect, their cost, and the reason why no way without them was chosen.

use std::collections::HashSet;

use bitnetc_plan::ttnn::Violation;
use bitnetc_plan::{Cost, MemoryConfig, Op, Step};

use super::Refusal;
use crate::PhaseRecord;
use crate::passes::Record;
use crate::ttnn::{Context, Ways, ways};

/// A value that was moved for a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Move {
    /// The step that moves it.
    pub step: String,
    /// The tensor moved.
    pub value: String,
    /// Where it was.
    pub from: MemoryConfig,
    /// Where the call reads it.
    pub to: MemoryConfig,
    /// Predicted cost of one run.
    pub cost: Cost,
    /// Ways of the call that read it where it was.
    pub readable: usize,
    /// The call that made it, and its ways that leave it where it is read; `None` for a tensor moved once before.
    pub maker: Option<Maker>,
}

/// Where a tensor comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Maker {
    /// The call.
    pub call: String,
    /// Its ways that leave the tensor where it is read.
    pub leaving: usize,
    /// The violation of TT-NN's rules by the first of its ways that would leave the tensor there.
    pub refusal: Option<Refusal>,
}

/// The reshards among a phase's `steps` that were made for a call with these ways.
pub fn moves(cx: &Context<'_>, phase: &PhaseRecord, chosen: &Record, all: &Ways, steps: &[&Step]) -> Vec<Move> {
    let of_call = |name: &str| name.strip_prefix(chosen.call.name.as_str()).is_some_and(is_reshard);
    let found = steps.iter().filter(|s| of_call(&s.name));
    found.filter_map(|step| one(cx, phase, chosen, all, steps, step)).collect()
}

/// Whether this is the suffix that a step's name has after the name of its call.
pub fn is_reshard(rest: &str) -> bool {
    rest.strip_prefix(".in").is_some_and(|n| n.chars().all(|c| c.is_ascii_digit()))
}

fn one(
    cx: &Context<'_>,
    phase: &PhaseRecord,
    chosen: &Record,
    all: &Ways,
    steps: &[&Step],
    step: &Step,
) -> Option<Move> {
    let Op::ToMemoryConfig(args) = &step.op else { return None };
    let value = args.input.name().to_string();
    let made = steps.iter().flat_map(|s| &s.outputs).find(|o| o.name == value)?;
    let (from, to) = (made.spec.memory.clone(), args.memory.clone());
    let name = |id: usize| phase.schedule.values[id].name.as_str();
    let wants = &chosen.ways.candidates[chosen.chosen].requires;
    let operands: Vec<usize> = chosen.call.values().collect();
    let named = operands.iter().position(|id| name(*id) == value);
    let at = named.or_else(|| wants.iter().position(|memory| *memory == to))?;
    let readable = all.candidates.iter().filter(|c| c.requires.get(at) == Some(&from)).count();
    let maker = phase.placed.record.iter().find_map(|record| {
        let output = record.call.outputs.iter().position(|id| name(*id) == value)?;
        Some(maker(cx, record, output, &to))
    });
    Some(Move { step: step.name.clone(), value, from, to, cost: step.cost, readable, maker })
}

fn maker(cx: &Context<'_>, record: &Record, output: usize, to: &MemoryConfig) -> Maker {
    let all = ways(&record.call, &Context { everything: true, ..*cx });
    let leaving = all.candidates.iter().filter(|c| c.produces.get(output).is_some_and(|s| s.memory == *to)).count();
    let refusal = if leaving == 0 { refusal(&all, &to.to_string()) } else { None };
    Maker { call: record.call.name.clone(), leaving, refusal }
}

/// The constraint that refuses a placement: among those that the ways naming it break, the first that no other way breaks.
fn refusal(all: &Ways, placement: &str) -> Option<Refusal> {
    let (tried, others): (Vec<_>, Vec<_>) = all.rejections.iter().partition(|r| r.what.contains(placement));
    let elsewhere: HashSet<String> = others.iter().flat_map(|r| &r.violations).map(Violation::id).collect();
    let broken = tried.iter().flat_map(|r| r.violations.iter().map(move |v| (v, &r.what)));
    let (violation, example) = broken.min_by_key(|(v, _)| elsewhere.contains(&v.id()))?;
    Some(Refusal {
        constraint: violation.id(),
        what: violation.what(),
        hint: violation.hint(),
        example: example.clone(),
        ways: tried.len(),
    })
}
