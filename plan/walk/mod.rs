//! The walk: a phase replayed step by step on the model of the card's memory.
//!
//! It is the only implementation of what a phase does to L1. The compiler's lifetime pass takes addresses and footprints from it
//! ([`settle`]), [`crate::verify()`] compares a plan with it, and `inspect --memory` prints it.
//!
//! The order of allocations is TT-NN's: persistent weights in L1 in the plan's order, then for each step the temporaries made before the
//! output, the outputs, the temporaries made after; the temporaries go when the step ends, values when they are freed. A [`View`] takes
//! over its input's memory. A layer leaves what it found, so one walk through it stands for all layers: [`Invariant::LayerLoop`].
//!
//! [`View`]: crate::op::View
//! [`Invariant::LayerLoop`]: crate::Invariant::LayerLoop

mod memory;
mod replay;
mod values;

use crate::padding::follow;
use crate::ttnn::Outcome;
use crate::{Buffer, Card, Defect, Footprint, Phase, Plan, Section, Weight};
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
}

impl<'a> From<&'a Plan> for Context<'a> {
    fn from(plan: &'a Plan) -> Self {
        Context { card: &plan.card, weights: &plan.weights, buffers: &plan.buffers }
    }
}

/// Everything the walk through a phase found out.
#[derive(Debug, Clone)]
pub struct Walk {
    /// One for each step, in the order of [`Phase::steps`].
    pub steps: Vec<StepMemory>,
    /// Addresses of the plan's weights in L1, `None` for those in DRAM.
    pub weights: Vec<Option<u64>>,
    /// Most bytes of one DRAM bank that values take at once, weights and buffers apart.
    pub dram_peak: u64,
    /// Bytes of one DRAM bank that the results take.
    pub dram_results: u64,
    /// Broken invariants, of `Defined`, `Alive`, `LayerLoop`, `Freed`, `Used`, `Legal`, `Outputs`, `L1Capacity`.
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
    /// L1 address of each output, `None` in DRAM or when there is no room.
    pub addresses: Vec<Option<u64>>,
    /// L1 it takes; nothing when it launches no program.
    pub footprint: Footprint,
    /// The L1 tensors alive while it runs, lowest address first.
    pub live: Vec<Resident>,
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

/// Replays `phase`. It never fails: defects are collected in [`Walk::defects`], and the walk goes on with what the plan declares.
///
/// The numbers of card, specs and operations must be within [`Bounds`](crate::Invariant::Bounds), and the card's within
/// [`Card`](crate::Invariant::Card).
pub fn walk(context: Context, phase: &Phase) -> Walk {
    let mut replay = Replay::new(context, phase);
    for weight in context.weights {
        replay.persist(weight);
    }
    replay.section(Section::Prologue);
    replay.section(Section::Layer);
    replay.end_layer();
    replay.section(Section::Epilogue);
    replay.finish(&phase.results)
}

/// Writes into `plan` the walk's addresses and footprints, of weights and of every value and step of every phase, and the values' padding.
///
/// # Errors
/// The defects of all walks; the plan is half settled then, and of no use.
pub fn settle(plan: &mut Plan) -> Result<(), Vec<Defect>> {
    let mut defects = Vec::new();
    let Plan { card, weights, buffers, phases, .. } = plan;
    let mut addresses = Vec::new();
    for phase in phases {
        let context = Context { card, weights, buffers };
        let walk = walk(context, phase);
        let paddings = follow(context, phase).steps;
        let steps = phase.prologue.iter_mut().chain(&mut phase.layer).chain(&mut phase.epilogue);
        for ((step, memory), padding) in steps.zip(walk.steps).zip(paddings) {
            step.l1 = memory.footprint;
            for (value, address) in step.outputs.iter_mut().zip(memory.addresses) {
                (value.padding, value.address) = (padding, address);
            }
        }
        defects.extend(walk.defects);
        addresses = walk.weights;
    }
    for (weight, address) in weights.iter_mut().zip(addresses) {
        weight.address = address;
    }
    if defects.is_empty() { Ok(()) } else { Err(defects) }
}

#[cfg(test)]
mod tests;
