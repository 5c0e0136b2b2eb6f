//! Options, phases as a whole, and traces.

use bitnetc_plan::{Buffer, BufferRole, Invariant, Op, PhaseKind, Plan, Ref, verify};
use proptest::prelude::*;

use crate::spot::{applicable, caught, caught_as, plans, spot};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn other_options_are_caught(spot in spot(), what in 0..6) {
        let mut plan = spot.plan();
        let (phase, buffer) = (spot.phase.index(plan.phases.len()), spot.other.index(plan.buffers.len()));
        match what {
            0 => plan.format += spot.amount,
            1 => plan.options.batch += spot.amount,
            2 => plan.options.block *= 2,
            3 => plan.phases.push(plan.phases[phase].clone()),
            4 => plan.phases[phase].results.clear(),
            _ => {
                let again: Buffer = plan.buffers[buffer].clone();
                plan.buffers.push(again);
            }
        }
        caught(&plan)?;
    }

    #[test]
    fn a_trace_that_cannot_be_replayed_is_caught(spot in spot(), what in 0..4) {
        let mut plan = spot.plan();
        let mut changed = applicable(plan.phases[0].trace.clone())?;
        match what {
            0 => changed.warm_up = 0,
            1 => drop(changed.feedback.remove(spot.at.index(changed.feedback.len()))),
            2 => changed.inputs.retain(|n| changed.feedback.contains(n)),
            _ => plan.phases[1].trace = plan.phases[0].trace.clone(),
        }
        plan.phases[0].trace = Some(changed);
        caught_as(&plan, Invariant::Trace)?;
    }
}

/// Every plan with `change` done to it breaks `invariant`.
#[track_caller]
fn broken(invariant: Invariant, change: impl Fn(&mut Plan)) {
    for sound in plans() {
        let mut plan = sound.clone();
        change(&mut plan);
        let defects = verify(&plan).map(|_| ()).unwrap_err();
        assert!(defects.iter().any(|d| d.invariant == invariant), "{defects:#?}");
    }
}

#[test]
fn a_prefill_leaves_its_caches_and_the_first_tokens() {
    broken(Invariant::Dataflow, |p| p.phases[1].layer.retain(|s| !matches!(s.op, Op::CacheFill(_))));
    broken(Invariant::Dataflow, |p| p.phases[1].epilogue.retain(|s| !matches!(s.op, Op::ArgMax(_))));
    broken(Invariant::Dataflow, |p| {
        let tokens = p.buffer_for(BufferRole::Tokens).unwrap().name.clone();
        for step in &mut p.phases[1].epilogue {
            if let Op::ArgMax(args) = &mut step.op {
                args.output = Ref::Buffer(tokens.clone());
            }
        }
    });
}

#[test]
fn prefills_grow_within_the_context() {
    broken(Invariant::Names, |p| p.phases[1].kind = PhaseKind::Prefill { tokens: p.options.context + 32 });
    broken(Invariant::Names, |p| p.phases.swap(0, 1));
}

/// The name of the buffer of a role.
fn name(plan: &Plan, role: BufferRole) -> Ref {
    Ref::Buffer(plan.buffer_for(role).unwrap().name.clone())
}

/// Where a chunk lies is told in several buffers; each call of a prefill has to read the one that is for it.
#[test]
fn a_prefill_reads_where_its_chunk_lies() {
    let operand = |call: &'static str, at: usize, role: BufferRole| {
        broken(Invariant::Dataflow, |p| {
            let other = name(p, role);
            let phase = &mut p.phases[1];
            let mut steps = phase.prologue.iter_mut().chain(&mut phase.layer).chain(&mut phase.epilogue);
            let step = steps.find(|step| step.op.name() == call).unwrap();
            *step.op.operands_mut()[at] = other;
        });
    };
    operand("cache_fill", 2, BufferRole::ContextPages);
    operand("cache_fill", 2, BufferRole::PageTable);
    operand("sdpa", 3, BufferRole::PageTable);
    operand("sdpa", 3, BufferRole::ChunkPages(128));
    operand("sdpa", 4, BufferRole::Positions);
    operand("slice_at", 1, BufferRole::LastTileEnds);
    operand("slice_at", 2, BufferRole::LastTileStarts);
    operand("embedding", 0, BufferRole::RotaryPositions);
}

#[test]
fn positions_of_a_chunk_are_looked_up_in_tables_of_the_context() {
    broken(Invariant::WeightSource, |p| {
        let (prompt, positions) = (name(p, BufferRole::Prompt(128)), name(p, BufferRole::PromptPositions(128)));
        let lookups = p.phases[1].prologue.iter_mut().filter_map(|step| match &mut step.op {
            Op::Embedding(lookup) if lookup.indices == positions => Some(lookup),
            _ => None,
        });
        lookups.for_each(|lookup| lookup.indices = prompt.clone());
    });
    let buffer = |role: BufferRole, change: fn(&mut Buffer)| {
        broken(Invariant::BufferRole, |p| change(p.buffers.iter_mut().find(|b| b.role == role).unwrap()));
    };
    // Enough for a chunk at the context's start, but not for one at its end.
    buffer(BufferRole::ContextPages, |b| b.spec.shape[1] -= 8);
    buffer(BufferRole::ChunkPages(128), |b| b.spec.shape[1] += 1);
    buffer(BufferRole::ChunkStart, |b| b.spec.shape[0] = 2);
}
