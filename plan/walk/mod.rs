//! The walk: the phases replayed step by step on the model of the card's memories.
//!
//! It is the only implementation of what a phase does to L1 and DRAM. The compiler's lifetime pass takes addresses and footprints from it
//! ([`settle`]), [`crate::verify()`] compares a plan with it, and `inspect --memory` prints it.
//!
//! The order of allocations is the runtime's and TT-NN's: weights, then buffers, in the plan's order and each for all layers; then for each
//! step the temporaries made before the output, the outputs, the temporaries made after; the temporaries go when the step ends, values when
//! they are freed. A [`View`] takes over its input's memory. A layer leaves what it found, so one walk through it stands for all layers:
//! [`Invariant::LayerLoop`].
//!
//! A phase finds weights and buffers, and the results of the traced phases before it: a trace writes to the addresses of its capture at
//! every replay, so they stay allocated. Whoever executes a plan may do without traces. Then those results are not there, and a phase has to
//! fit either way.
//!
//! [`View`]: crate::op::View
//! [`Invariant::LayerLoop`]: crate::Invariant::LayerLoop

mod ground;
mod memory;
mod replay;
mod values;

use crate::allocator::bytes_per_bank;
use crate::defect::Invariant;
use crate::padding::follow;
use crate::ttnn::Outcome;
use crate::{Buffer, Card, Defect, Footprint, Memory, Phase, Plan, Section, TensorSpec, Weight};
use ground::Ground;
use memory::CardMemory;
use replay::Replay;

/// The parts of a plan that the walk through a phase needs besides the phase.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The card.
    pub card: &'a Card,
    /// The plan's weights.
    pub weights: &'a [Weight],
    /// The plan's persistent buffers.
    pub buffers: &'a [Buffer],
    /// The model's layers.
    pub layers: u32,
}

impl Context<'_> {
    /// Bytes that the weights of all layers take of every DRAM bank.
    pub fn weights_in_dram(&self) -> u64 {
        self.in_dram(self.weights.iter().map(|w| (&w.spec, w.per_layer)))
    }

    /// Bytes that the buffers of all layers take of every DRAM bank.
    pub fn buffers_in_dram(&self) -> u64 {
        self.in_dram(self.buffers.iter().map(|b| (&b.spec, b.per_layer)))
    }

    fn in_dram<'s>(&self, tensors: impl Iterator<Item = (&'s TensorSpec, bool)>) -> u64 {
        let layers = |per_layer: bool| if per_layer { u64::from(self.layers) } else { 1 };
        let in_dram = tensors.filter(|(spec, _)| spec.memory.memory() == Memory::Dram);
        let bytes = in_dram.map(|(spec, per_layer)| bytes_per_bank(spec, self.card).saturating_mul(layers(per_layer)));
        bytes.fold(0, u64::saturating_add)
    }
}

impl<'a> From<&'a Plan> for Context<'a> {
    fn from(plan: &'a Plan) -> Self {
        Context { card: &plan.card, weights: &plan.weights, buffers: &plan.buffers, layers: plan.model.layers }
    }
}

/// Everything the walk through a phase found out.
#[derive(Debug, Clone)]
pub struct Walk {
    /// One for each step, in the order of [`Phase::steps`].
    pub steps: Vec<StepMemory>,
    /// The address after the last tensor in DRAM, when that is highest.
    pub dram_end: u64,
    /// Broken invariants, of `Defined`, `Alive`, `LayerLoop`, `Freed`, `Used`, `Legal`, `Outputs`, `L1Capacity`, `DramCapacity`.
    pub defects: Vec<Defect>,
}

/// Where all tensors of a plan lie.
#[derive(Debug, Clone)]
pub struct Walks {
    /// The address of each weight, `None` when there is no room.
    pub weights: Vec<Option<u64>>,
    /// The address of each buffer.
    pub buffers: Vec<Option<u64>>,
    /// One for each phase.
    pub phases: Vec<Walk>,
    /// Broken invariants of weights and buffers, `L1Capacity` and `DramCapacity`.
    pub defects: Vec<Defect>,
}

impl Walk {
    /// Device programs of one section, run once.
    pub fn programs_of(&self, section: Section) -> u64 {
        let steps = self.steps.iter().filter(|step| step.section == section);
        steps.filter_map(|step| step.outcome.as_ref()).map(|outcome| u64::from(outcome.programs)).sum()
    }

    /// Device programs of the phase in a model of so many layers.
    pub fn programs(&self, layers: u32) -> u64 {
        let once = self.programs_of(Section::Prologue).saturating_add(self.programs_of(Section::Epilogue));
        self.programs_of(Section::Layer).saturating_mul(u64::from(layers)).saturating_add(once)
    }
}

/// Memory while a step runs.
#[derive(Debug, Clone)]
pub struct StepMemory {
    /// The part of the phase it is in.
    pub section: Section,
    /// TT-NN's answer to the call; `None` when it refuses or an operand is unknown.
    pub outcome: Option<Outcome>,
    /// Address of each output, `None` when there is no room.
    pub addresses: Vec<Option<u64>>,
    /// L1 it takes; nothing when it launches no program.
    pub footprint: Footprint,
    /// The L1 tensors alive while it runs, lowest address first.
    pub live: Vec<Resident>,
    /// The address after the last tensor in DRAM while it runs.
    pub dram_end: u64,
}

/// A tensor in L1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resident {
    /// Name of the value or weight; `(temporary)` for one internal to the call.
    pub name: String,
    /// First byte.
    pub address: u64,
    /// Bytes on every core.
    pub bytes: u64,
}

/// Replays `phase` in a memory that holds nothing but weights and buffers. It never fails: defects are collected in [`Walk::defects`], and
/// the walk goes on with what the plan declares.
///
/// The numbers of card, specs and operations must be within [`Bounds`](crate::Invariant::Bounds), and the card's within
/// [`Card`](crate::Invariant::Card).
pub fn walk(context: Context, phase: &Phase) -> Walk {
    through(context, phase, Ground::new(context).memory).0
}

/// Replays all phases, each in the memory that it finds. Numbers must be as for [`walk`].
pub fn walks(context: Context, phases: &[Phase]) -> Walks {
    let Ground { memory: ground, weights, buffers, defects } = Ground::new(context);
    let mut found = ground.clone();
    let (mut walks, mut traced) = (Vec::new(), false);
    for phase in phases {
        let (mut walk, left) = through(context, phase, found.clone());
        if traced {
            add_without_traces(&mut walk, through(context, phase, ground.clone()).0);
        }
        if phase.trace.is_some() {
            (found, traced) = (left, true);
        }
        walks.push(walk);
    }
    Walks { weights, buffers, phases: walks, defects: defects.0 }
}

/// The walk through a phase, and the memory that it leaves.
fn through<'a>(context: Context<'a>, phase: &'a Phase, memory: CardMemory<'a>) -> (Walk, CardMemory<'a>) {
    let mut replay = Replay::new(context, phase, memory);
    replay.section(Section::Prologue);
    replay.section(Section::Layer);
    replay.end_layer();
    replay.section(Section::Epilogue);
    replay.finish(&phase.results)
}

/// Adds to a walk what differs when the phase is executed without the results of traces.
fn add_without_traces(walk: &mut Walk, other: Walk) {
    walk.dram_end = walk.dram_end.max(other.dram_end);
    let full = |d: &Defect| d.invariant == Invariant::DramCapacity;
    if !walk.defects.iter().any(full) {
        walk.defects.extend(other.defects.into_iter().filter(full));
    }
}

/// Writes into `plan` the walks' addresses and footprints, of weights and buffers and of every value and step of every phase, and the
/// values' padding.
///
/// # Errors
/// The defects of all walks; the plan is half settled then, and of no use.
pub fn settle(plan: &mut Plan) -> Result<(), Vec<Defect>> {
    let context = Context::from(&*plan);
    let Walks { weights, buffers, phases, mut defects } = walks(context, &plan.phases);
    let paddings: Vec<_> = plan.phases.iter().map(|phase| follow(context, phase).steps).collect();
    for ((phase, walk), paddings) in plan.phases.iter_mut().zip(phases).zip(paddings) {
        let steps = phase.prologue.iter_mut().chain(&mut phase.layer).chain(&mut phase.epilogue);
        for ((step, memory), padding) in steps.zip(walk.steps).zip(paddings) {
            step.l1 = memory.footprint;
            for (value, address) in step.outputs.iter_mut().zip(memory.addresses) {
                (value.padding, value.address) = (padding, address);
            }
        }
        defects.extend(walk.defects);
    }
    for (weight, address) in plan.weights.iter_mut().zip(weights) {
        weight.address = address;
    }
    for (buffer, address) in plan.buffers.iter_mut().zip(buffers) {
        buffer.address = address;
    }
    if defects.is_empty() { Ok(()) } else { Err(defects) }
}

#[cfg(test)]
mod tests;
