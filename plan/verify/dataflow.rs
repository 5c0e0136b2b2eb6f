//! Invariants `Dataflow` and `Trace`: a phase reads and writes the persistent buffers that its ops are for, in an order that makes each run
//! see what the run before it left.

use std::collections::{BTreeMap, BTreeSet};

use crate::defect::Defects;
use crate::op::{Access, PlusOne, Role};
use crate::{Buffer, BufferRole, Invariant, Op, Phase, PhaseKind, Place, Plan, Ref, Section, Step, Trace};

/// Most runs before a capture. One is enough to compile every kernel; a plan may ask for a few more, but not for millions.
const MOST_WARM_UP: u32 = 16;

pub fn check(plan: &Plan, phase: &Phase, defects: &mut Defects) {
    for step in phase.steps() {
        roles(plan, phase, step, defects);
        idle_users(plan, phase, step, defects);
    }
    seeded(phase, defects);
    let uses = uses(plan, phase);
    for usage in uses.values() {
        order(phase, usage, defects);
    }
    for role in required_writes(phase.kind) {
        if !uses.values().any(|u| u.buffer.role == role && !u.writes.is_empty()) {
            let what = format!("no step writes the buffer for {role:?}");
            defects.push(Invariant::Dataflow, Place::Phase(phase.kind), what, "one step does");
        }
    }
    if let Some(trace) = &phase.trace {
        check_trace(plan, phase, trace, &uses, defects);
    }
}

/// The buffers that a phase has to write for what runs after it.
fn required_writes(kind: PhaseKind) -> Vec<BufferRole> {
    use BufferRole::{FirstTokens, KeyCache, Positions, RotaryPositions, Tokens, ValueCache};
    match kind {
        PhaseKind::Decode { .. } => vec![KeyCache, ValueCache, Tokens, Positions, RotaryPositions],
        PhaseKind::Prefill { .. } => vec![KeyCache, ValueCache, FirstTokens],
    }
}

/// Random numbers can be seeded before a token is drawn by them, so that a seed repeats a text.
fn seeded(phase: &Phase, defects: &mut Defects) {
    let at = |wanted: fn(&Op) -> bool| phase.steps().position(|step| wanted(&step.op));
    let seeds = at(|op| matches!(op, Op::ManualSeed(_)));
    for (number, step) in phase.steps().enumerate().filter(|(_, step)| matches!(step.op, Op::Sampling(_))) {
        if seeds.is_none_or(|seeds| seeds > number) {
            let what = "a token is drawn by random numbers that nothing has seeded";
            defects.push(
                Invariant::Dataflow,
                Place::Step(phase.kind, step.name.clone()),
                what,
                "ttnn.manual_seed before it",
            );
        }
    }
}

/// The persistent buffers that an operand of this role may be, which then has to be one of them. An empty list forbids buffers.
fn expected_buffers(role: Role, kind: PhaseKind) -> Vec<BufferRole> {
    let (indices, next) = match kind {
        PhaseKind::Decode { .. } => (vec![BufferRole::Tokens, BufferRole::RotaryPositions], BufferRole::Tokens),
        PhaseKind::Prefill { tokens } => {
            (vec![BufferRole::Prompt(tokens), BufferRole::PromptPositions(tokens)], BufferRole::FirstTokens)
        }
    };
    match role {
        Role::Indices => indices,
        Role::ChunkPages => match kind {
            PhaseKind::Decode { .. } => vec![],
            PhaseKind::Prefill { tokens } => vec![BufferRole::ChunkPages(tokens)],
        },
        Role::ContextPages => vec![BufferRole::ContextPages],
        Role::ChunkStart => vec![BufferRole::ChunkStart],
        Role::Starts => vec![BufferRole::LastTileStarts],
        Role::Ends => vec![BufferRole::LastTileEnds],
        Role::KeyCache => vec![BufferRole::KeyCache],
        Role::ValueCache => vec![BufferRole::ValueCache],
        Role::Cache => vec![BufferRole::KeyCache, BufferRole::ValueCache],
        Role::Positions => vec![BufferRole::Positions],
        Role::PageTable => vec![BufferRole::PageTable],
        Role::NextToken => vec![next],
        Role::TopK => vec![BufferRole::TopK],
        Role::TopP => vec![BufferRole::TopP],
        Role::InverseTemperature => vec![BufferRole::InverseTemperature],
        Role::Seeds => vec![BufferRole::Seeds],
        Role::Generators | Role::Integers => vec![BufferRole::Generators],
        Role::Counter => vec![BufferRole::Positions, BufferRole::RotaryPositions],
        Role::Tensor | Role::Moved | Role::Cut | Role::Part | Role::Table | Role::Gamma | Role::Matrix => vec![],
        Role::Projection | Role::Cosines | Role::Sines | Role::Queries | Role::TokenRows => vec![],
        Role::PromptRows | Role::Logits | Role::Candidates | Role::CandidateTokens => vec![],
    }
}

fn roles(plan: &Plan, phase: &Phase, step: &Step, defects: &mut Defects) {
    let mut bad = |what: String, hint: String| {
        defects.push(Invariant::Dataflow, Place::Step(phase.kind, step.name.clone()), what, hint);
    };
    let call = step.op.call();
    for operand in step.op.uses() {
        let tensor = operand.tensor;
        let buffer = if let Ref::Buffer(name) = tensor { Some(plan.buffer(name).map(|b| b.role)) } else { None };
        let expected = expected_buffers(operand.role, phase.kind);
        if operand.role == Role::Integers && buffer.is_none() {
            // They were computed.
        } else if expected.is_empty() {
            if buffer.is_some() {
                bad(format!("ttnn.{call} has no use for the buffer `{tensor}`"), "a value".into());
            }
        } else if !buffer.flatten().is_some_and(|role| expected.contains(&role)) {
            bad(format!("ttnn.{call} is given `{tensor}`"), format!("the buffer for {}", one_of(&expected)));
        }
    }
}

/// A user is idle at position -1, which has to stay what it is.
fn idle_users(plan: &Plan, phase: &Phase, step: &Step, defects: &mut Defects) {
    let Op::PlusOne(PlusOne { buffer, skip_negative: false }) = &step.op else { return };
    if plan.buffer(buffer.name()).is_some_and(|b| b.role == BufferRole::Positions) {
        let what = format!("`{buffer}` counts on from -1, so that users who are idle start to write into their caches");
        let place = Place::Step(phase.kind, step.name.clone());
        defects.push(Invariant::Dataflow, place, what, "skip_negative");
    }
}

fn one_of(roles: &[BufferRole]) -> String {
    roles.iter().map(|r| format!("{r:?}")).collect::<Vec<_>>().join(" or ")
}

/// Where a phase uses a buffer: positions in the order of its steps.
struct Usage<'a> {
    buffer: &'a Buffer,
    reads: Vec<(usize, &'a Step)>,
    writes: Vec<(usize, Section, &'a Step)>,
}

fn uses<'a>(plan: &'a Plan, phase: &'a Phase) -> BTreeMap<&'a str, Usage<'a>> {
    let mut uses: BTreeMap<&str, Usage> = BTreeMap::new();
    let steps =
        Section::ALL.into_iter().flat_map(|section| phase.section(section).iter().map(move |step| (section, step)));
    for (index, (section, step)) in steps.enumerate() {
        for operand in step.op.uses() {
            let Ref::Buffer(name) = operand.tensor else { continue };
            // An unknown buffer was reported as an undefined operand.
            let Some(buffer) = plan.buffer(name) else { continue };
            let usage = uses.entry(name).or_insert_with(|| Usage { buffer, reads: Vec::new(), writes: Vec::new() });
            match operand.access {
                Access::Write => usage.writes.push((index, section, step)),
                Access::Read | Access::Rename | Access::Free => usage.reads.push((index, step)),
            }
        }
    }
    uses
}

/// Each buffer is written at most once. A cache is read after that, since attention sees the new token; any other buffer before, since it is
/// written for the next run.
fn order(phase: &Phase, usage: &Usage, defects: &mut Defects) {
    let role = usage.buffer.role;
    let mut bad = |step: &Step, what: String, hint: &str| {
        defects.push(Invariant::Dataflow, Place::Step(phase.kind, step.name.clone()), what, hint);
    };
    for (_, _, step) in usage.writes.iter().skip(1) {
        bad(step, format!("the buffer for {role:?} is written again"), "one step writes it");
    }
    let Some(&(written, section, writer)) = usage.writes.first() else { return };
    if role.is_cache() != (section == Section::Layer) {
        let hint = if role.is_cache() { "in the layer" } else { "before or after the layers" };
        bad(writer, format!("the buffer for {role:?} is written in the {section:?}"), hint);
    }
    for &(read, reader) in &usage.reads {
        if role.is_cache() && read < written {
            bad(reader, format!("{role:?} is read before step `{}` wrote this token", writer.name), "write first");
        }
        if !role.is_cache() && read > written {
            let what = format!("{role:?} is read after step `{}` wrote it for the next run", writer.name);
            bad(reader, what, "read first");
        }
    }
}

fn check_trace(plan: &Plan, phase: &Phase, trace: &Trace, uses: &BTreeMap<&str, Usage>, defects: &mut Defects) {
    let place = || Place::Phase(phase.kind);
    let mut bad = |place, what: String, hint: &str| defects.push(Invariant::Trace, place, what, hint);
    if !(1..=MOST_WARM_UP).contains(&trace.warm_up) {
        let what = format!("{} runs before the capture, in which kernels are compiled and uploaded", trace.warm_up);
        bad(place(), what, &format!("1 to {MOST_WARM_UP}"));
    }
    let carried = uses.iter().filter(|(_, u)| !u.buffer.role.is_cache() && !u.writes.is_empty());
    let carried: BTreeSet<&str> = carried.map(|(name, _)| *name).collect();
    let given = uses.iter().filter(|(_, u)| !u.buffer.role.is_cache() && u.writes.is_empty());
    let given: BTreeSet<&str> = given.map(|(name, _)| *name).collect();
    for (list, names, required) in [("feedback", &trace.feedback, &carried), ("inputs", &trace.inputs, &given)] {
        let mut seen = BTreeSet::new();
        for name in names {
            if plan.buffer(name).is_none() {
                bad(place(), format!("{list} names `{name}`, which is no buffer of the plan"), "");
            } else if !seen.insert(name.as_str()) {
                bad(place(), format!("{list} names `{name}` twice"), "");
            }
        }
        for name in required.iter().filter(|name| !seen.contains(*name)) {
            bad(
                place(),
                format!("{list} does not name `{name}`"),
                "feedback is what the phase writes, inputs the rest",
            );
        }
        // The host may write feedback buffers too: it does when another prompt starts.
        let allowed =
            |name: &&str| uses.get(name).is_some_and(|u| !u.buffer.role.is_cache()) || plan.buffer(name).is_none();
        let strict = list == "feedback";
        for name in seen.iter().filter(|name| !allowed(name) || strict && !required.contains(*name)) {
            bad(place(), format!("{list} names `{name}`, which the phase does not use so"), "");
        }
    }
}
