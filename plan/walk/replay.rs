//! The state of a walk and what each step does to it.

use super::memory::CardMemory;
use super::values::{State, Tracked, Values};
use super::{Context, StepMemory, Walk};
use crate::allocator::OutOfMemory;
use crate::defect::{Defects, Invariant, Place};
use crate::ttnn::{self, Outcome};
use crate::{Footprint, Memory, Phase, Ref, Section, Step, TensorSpec};

/// Name of a call's internal tensors in a map of memory.
const TEMPORARY: &str = "(temporary)";

pub(super) struct Replay<'a> {
    context: Context<'a>,
    phase: &'a Phase,
    values: Values<'a>,
    memory: CardMemory<'a>,
    walk: Walk,
    defects: Defects,
}

impl<'a> Replay<'a> {
    pub fn new(context: Context<'a>, phase: &'a Phase, memory: CardMemory<'a>) -> Self {
        Replay {
            context,
            phase,
            values: Values::new(context),
            walk: Walk { steps: Vec::new(), dram_end: memory.dram_end(), defects: Vec::new() },
            memory,
            defects: Defects::default(),
        }
    }

    pub fn section(&mut self, section: Section) {
        for step in self.phase.section(section) {
            let memory = if let Some(input) = step.op.freed() {
                self.free(section, step, input);
                None
            } else if let Some(input) = step.op.renamed() {
                self.rename(section, step, input)
            } else {
                Some(self.call(section, step))
            };
            let empty = StepMemory {
                section,
                outcome: None,
                addresses: vec![None; step.outputs.len()],
                footprint: Footprint::default(),
                live: Vec::new(),
                dram_end: self.memory.dram_end(),
            };
            self.walk.steps.push(memory.unwrap_or(empty));
        }
    }

    /// A call that makes new tensors or writes into old ones.
    fn call(&mut self, section: Section, step: &'a Step) -> StepMemory {
        let outcome = self.check(section, step);
        self.mark(step);
        let temporaries = outcome.as_ref().map_or(&[][..], |o| &o.temporaries);
        let mut scratch = Vec::new();
        for temporary in temporaries.iter().filter(|t| t.before_output) {
            scratch.extend(self.scratch(step, temporary.spec.clone()));
        }
        let addresses: Vec<_> = step.outputs.iter().map(|v| self.make(step, &v.name, &v.spec)).collect();
        for temporary in temporaries.iter().filter(|t| !t.before_output) {
            scratch.extend(self.scratch(step, temporary.spec.clone()));
        }
        let footprint = match &outcome {
            Some(outcome) if outcome.programs > 0 => self.memory.footprint(outcome.circular_buffers),
            Some(_) => Footprint::default(),
            // The footprint of a call that the rules refuse is not known, so the declared one stands.
            None => step.l1,
        };
        let (live, dram_end) = (self.memory.live(), self.memory.dram_end());
        scratch.into_iter().rev().for_each(|(spec, address)| self.memory.release(&spec, address));
        self.walk.dram_end = self.walk.dram_end.max(dram_end);
        for (value, address) in step.outputs.iter().zip(&addresses) {
            self.define(section, step, &value.name, &value.spec, *address);
        }
        StepMemory { section, outcome, addresses, footprint, live, dram_end }
    }

    /// The same memory under a new name.
    fn rename(&mut self, section: Section, step: &'a Step, input: &'a Ref) -> Option<StepMemory> {
        let outcome = self.check(section, step);
        self.mark(step);
        let address = self.end(section, step, input, State::TakenOver { by: step.name.clone() })?;
        for value in &step.outputs {
            self.define(section, step, &value.name, &value.spec, address);
            self.memory.rename(input.name(), &value.name);
        }
        let addresses = vec![address; step.outputs.len()];
        let (live, dram_end) = (self.memory.live(), self.memory.dram_end());
        Some(StepMemory { section, outcome, addresses, footprint: Footprint::default(), live, dram_end })
    }

    fn free(&mut self, section: Section, step: &'a Step, input: &'a Ref) {
        if !step.outputs.is_empty() {
            self.defect(Invariant::Outputs, step, "a deallocation returns nothing", "no outputs");
        }
        let known = self.values.value(input);
        let spec = known.map(|t| t.spec);
        if known.is_some_and(|t| t.is_alive() && !t.used) {
            let what = format!("`{input}` is freed without having been used since it was written");
            self.defect(Invariant::Used, step, what, "the step that should use it is missing, or it should not exist");
        }
        let address = self.end(section, step, input, State::Freed { by: step.name.clone() });
        if let (Some(Some(address)), Some(spec)) = (address, spec) {
            self.memory.release(spec, address);
        }
    }

    /// Ends a value's life under its name; its address when it was alive and may end here.
    fn end(&mut self, section: Section, step: &'a Step, input: &'a Ref, state: State) -> Option<Option<u64>> {
        // An operand that is not there was reported before a call renames it; a call that frees was not checked.
        let frees = step.op.freed().is_some();
        if !matches!(input, Ref::Value(_)) {
            let what = format!("`{input}` belongs to the plan and cannot be freed or taken over");
            self.defect(Invariant::Alive, step, what, "only values end");
            return None;
        }
        let Some(tracked) = self.values.value_mut(input) else {
            if frees {
                self.defect(Invariant::Defined, step, format!("`{input}` is not defined here"), "define it before");
            }
            return None;
        };
        match &tracked.state {
            State::Alive if section == Section::Layer && tracked.section == Section::Prologue => {
                let what =
                    format!("the layer ends `{input}`, which the prologue made: the next layer would not find it");
                self.defect(Invariant::LayerLoop, step, what, "end it in the epilogue");
                None
            }
            State::Alive => {
                tracked.state = state;
                Some(tracked.address)
            }
            State::Freed { by } | State::TakenOver { by } => {
                let what = format!("`{input}` already ended in step `{by}`");
                if frees {
                    self.defect(Invariant::Alive, step, what, "free it once");
                }
                None
            }
        }
    }

    pub fn end_layer(&mut self) {
        for step in &self.phase.layer {
            for value in &step.outputs {
                let Some(tracked) = self.values.get_mut(&value.name) else { continue };
                if !tracked.is_alive() || tracked.section != Section::Layer {
                    continue;
                }
                tracked.state = State::Freed { by: "(end of the layer)".into() };
                if let Some(address) = tracked.address {
                    self.memory.release(tracked.spec, address);
                }
                let what = format!("`{}` outlives the layer that made it: every layer would make another", value.name);
                self.defect(Invariant::LayerLoop, step, what, "free it after its last use in the layer");
            }
        }
    }

    /// The walk, and the memory as the phase leaves it.
    pub fn finish(mut self, results: &'a [String]) -> (Walk, CardMemory<'a>) {
        for name in results {
            let Some(tracked) = self.values.get_mut(name).filter(|t| t.is_alive()) else {
                let what = format!("result `{name}` is not alive after the last step");
                let place = Place::Phase(self.phase.kind);
                self.defects.push(Invariant::Freed, place, what, "a result is defined and never freed");
                continue;
            };
            tracked.used = true;
        }
        for value in self.phase.steps().flat_map(|step| &step.outputs) {
            let Some(tracked) = self.values.get(&value.name) else { continue };
            if !tracked.is_alive() || results.contains(&value.name) {
                continue;
            }
            let place = Place::Step(self.phase.kind, tracked.maker.to_owned());
            let what = format!("`{}` is still alive after the last step and is no result", value.name);
            self.defects.push(Invariant::Freed, place, what, "free it after its last use");
        }
        self.walk.defects = self.defects.0;
        (self.walk, self.memory)
    }

    /// Asks the rule, if all operands are known; compares what it returns with what the step declares.
    fn check(&mut self, section: Section, step: &'a Step) -> Option<Outcome> {
        let mut specs = Vec::new();
        let mut complete = true;
        for operand in step.op.operands() {
            match self.values.operand(section, operand) {
                Ok(spec) => specs.push(spec),
                Err((invariant, what, hint)) => {
                    complete = false;
                    self.defect(invariant, step, what, hint);
                }
            }
        }
        if !complete {
            return None;
        }
        let call = step.op.call();
        let outcome = match ttnn::check(&step.op, &specs, self.context.card) {
            Ok(outcome) => outcome,
            Err(violations) => {
                let call = format!("ttnn.{call}: ");
                for violation in violations {
                    self.defects.broken(Invariant::Legal, self.place(step), &call, violation);
                }
                return None;
            }
        };
        debug_assert_eq!(outcome.outputs.len(), step.op.results(), "the rule of {call} returns what its op declares");
        if step.outputs.len() != step.op.results() {
            let (returned, declared) = (step.op.results(), step.outputs.len());
            let what = format!("ttnn.{call} returns {returned} tensors, {declared} are declared");
            self.defect(Invariant::Outputs, step, what, "");
        }
        for (value, real) in step.outputs.iter().zip(&outcome.outputs) {
            if value.spec != *real {
                let what = format!("`{}` is declared {}, ttnn.{call} returns {real}", value.name, value.spec);
                self.defect(Invariant::Outputs, step, what, "");
            }
        }
        Some(outcome)
    }

    /// Notes which values the step reads, then which it writes.
    fn mark(&mut self, step: &'a Step) {
        for operand in step.op.operands() {
            if let Some(tracked) = self.values.value_mut(operand) {
                tracked.used = true;
            }
        }
        for operand in step.op.written() {
            if let Some(tracked) = self.values.value_mut(operand) {
                tracked.used = false;
            }
            if matches!(operand, Ref::Weight(_)) {
                self.defect(Invariant::Defined, step, format!("weight `{operand}` is written"), "weights are constant");
            }
        }
    }

    fn define(&mut self, section: Section, step: &'a Step, name: &'a str, spec: &'a TensorSpec, address: Option<u64>) {
        let maker = &step.name;
        self.values.define(name, Tracked { spec, address, section, maker, used: false, state: State::Alive });
    }

    /// Memory for an output; its address when there was room.
    fn make(&mut self, step: &Step, name: &str, spec: &TensorSpec) -> Option<u64> {
        self.memory.make(name, spec).map_err(|full| self.no_room(full, step, name, spec)).ok()
    }

    /// Memory for a tensor internal to a call.
    fn scratch(&mut self, step: &Step, spec: TensorSpec) -> Option<(TensorSpec, u64)> {
        self.make(step, TEMPORARY, &spec).map(|address| (spec, address))
    }

    fn no_room(&mut self, full: OutOfMemory, step: &Step, name: &str, spec: &TensorSpec) {
        let (invariant, memory, hint) = match spec.memory.memory() {
            Memory::L1 => (Invariant::L1Capacity, "L1", "free values earlier, or keep some in DRAM"),
            Memory::Dram => (Invariant::DramCapacity, "DRAM", "a shorter prefill, a smaller batch or context"),
        };
        self.defect(invariant, step, format!("no room in {memory} for `{name}`, {spec}: {full}"), hint);
    }

    fn place(&self, step: &Step) -> Place {
        Place::Step(self.phase.kind, step.name.clone())
    }

    fn defect(&mut self, invariant: Invariant, step: &Step, what: impl Into<String>, hint: impl Into<String>) {
        self.defects.push(invariant, self.place(step), what, hint);
    }
}
