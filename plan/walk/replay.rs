//! The state of a walk and what each step does to it.

use std::collections::HashMap;

use super::{Context, Resident, Section, StepMemory, Walk};
use crate::defect::{Defects, Invariant, Place};
use crate::l1::{Allocator, buffer_bytes, dram_bytes_per_bank};
use crate::op::View;
use crate::ttnn::{self, Outcome};
use crate::{Buffer, Footprint, Memory, Op, Phase, Ref, Step, TensorSpec, Weight};

/// Name of a call's internal tensors in a map of L1.
const TEMPORARY: &str = "(temporary)";

enum State {
    Alive,
    Freed { by: String },
    TakenOver { by: String },
}

struct Tracked<'a> {
    spec: &'a TensorSpec,
    address: Option<u64>,
    section: Section,
    maker: &'a str,
    /// Since it was last written.
    used: bool,
    state: State,
}

pub(super) struct Replay<'a> {
    context: Context<'a>,
    phase: &'a Phase,
    weights: HashMap<&'a str, &'a Weight>,
    buffers: HashMap<&'a str, &'a Buffer>,
    values: HashMap<&'a str, Tracked<'a>>,
    allocator: Allocator,
    residents: Vec<Resident>,
    dram_live: u64,
    walk: Walk,
    defects: Defects,
}

impl<'a> Replay<'a> {
    pub fn new(context: Context<'a>, phase: &'a Phase) -> Self {
        Replay {
            context,
            phase,
            weights: context.weights.iter().map(|w| (w.name.as_str(), w)).collect(),
            buffers: context.buffers.iter().map(|b| (b.name.as_str(), b)).collect(),
            values: HashMap::new(),
            allocator: Allocator::new(context.card),
            residents: Vec::new(),
            dram_live: 0,
            walk: Walk { steps: Vec::new(), weights: Vec::new(), dram_peak: 0, dram_results: 0, defects: Vec::new() },
            defects: Defects::default(),
        }
    }

    pub fn persist(&mut self, weight: &'a Weight) {
        let address = match weight.spec.memory.memory() {
            Memory::Dram => None,
            Memory::L1 => self.allocate(&weight.name, &weight.spec, Place::Weight(weight.name.clone())),
        };
        self.walk.weights.push(address);
    }

    pub fn section(&mut self, section: Section, steps: &'a [Step]) {
        for step in steps {
            let memory = match &step.op {
                Op::Deallocate(args) => {
                    self.deallocate(section, step, &args.input);
                    None
                }
                Op::View(args) => self.view(section, step, args),
                _ => self.call(section, step),
            };
            let empty = StepMemory {
                section,
                outcome: None,
                addresses: vec![None; step.outputs.len()],
                footprint: Footprint::default(),
                live: Vec::new(),
            };
            self.walk.steps.push(memory.unwrap_or(empty));
        }
    }

    /// A call that makes new tensors or writes into old ones.
    fn call(&mut self, section: Section, step: &'a Step) -> Option<StepMemory> {
        let outcome = self.check(section, step);
        self.mark(step);
        let temporaries = outcome.as_ref().map_or(&[][..], |o| &o.temporaries);
        let mut scratch = Vec::new();
        for temporary in temporaries.iter().filter(|t| t.before_output) {
            scratch.extend(self.allocate(TEMPORARY, &temporary.spec, self.place(step)));
        }
        let addresses: Vec<_> = step.outputs.iter().map(|v| self.make(step, &v.spec, &v.name)).collect();
        for temporary in temporaries.iter().filter(|t| !t.before_output) {
            scratch.extend(self.allocate(TEMPORARY, &temporary.spec, self.place(step)));
        }
        let footprint = self.footprint(step, outcome.as_ref());
        let live = self.live();
        for address in scratch.into_iter().rev() {
            self.release(Some(address));
        }
        self.walk.dram_peak = self.walk.dram_peak.max(self.dram_live);
        for (value, address) in step.outputs.iter().zip(&addresses) {
            self.define(section, step, &value.name, &value.spec, *address);
        }
        Some(StepMemory { section, outcome, addresses, footprint, live })
    }

    /// The same memory under a new name.
    fn view(&mut self, section: Section, step: &'a Step, args: &'a View) -> Option<StepMemory> {
        let outcome = self.check(section, step);
        self.mark(step);
        let address = self.end(section, step, &args.input, State::TakenOver { by: step.name.clone() })?;
        for value in &step.outputs {
            self.define(section, step, &value.name, &value.spec, address);
            self.rename(args.input.name(), &value.name);
        }
        let addresses = vec![address; step.outputs.len()];
        Some(StepMemory { section, outcome, addresses, footprint: Footprint::default(), live: self.live() })
    }

    fn deallocate(&mut self, section: Section, step: &'a Step, input: &'a Ref) {
        if !step.outputs.is_empty() {
            self.defect(Invariant::Outputs, step, "a deallocation returns nothing", "no outputs");
        }
        let unused = matches!(self.known(input), Some(Tracked { used: false, state: State::Alive, .. }));
        if unused {
            let what = format!("`{input}` is freed without having been used since it was written");
            self.defect(Invariant::Used, step, what, "the step that should use it is missing, or it should not exist");
        }
        let spec = self.known(input).map(|t| t.spec);
        if let (Some(address), Some(spec)) =
            (self.end(section, step, input, State::Freed { by: step.name.clone() }), spec)
        {
            self.drop_memory(spec, address);
        }
    }

    /// Ends a value's life under its name; its address when it was alive and may end here.
    fn end(&mut self, section: Section, step: &'a Step, input: &'a Ref, state: State) -> Option<Option<u64>> {
        if !matches!(input, Ref::Value(_)) {
            let what = format!("`{input}` belongs to the plan and cannot be freed or taken over");
            self.defect(Invariant::Alive, step, what, "only values end");
            return None;
        }
        let Some(tracked) = self.values.get_mut(input.name()) else {
            // A view's operand was reported by the check of its operands.
            if matches!(step.op, Op::Deallocate(_)) {
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
                if matches!(step.op, Op::Deallocate(_)) {
                    self.defect(Invariant::Alive, step, what, "free it once");
                }
                None
            }
        }
    }

    pub fn end_layer(&mut self) {
        for step in &self.phase.layer {
            for value in &step.outputs {
                let Some(tracked) = self.values.get_mut(value.name.as_str()) else { continue };
                if !matches!(tracked.state, State::Alive) || tracked.section != Section::Layer {
                    continue;
                }
                tracked.state = State::Freed { by: "(end of the layer)".into() };
                let (spec, address) = (tracked.spec, tracked.address);
                self.drop_memory(spec, address);
                let what = format!("`{}` outlives the layer that made it: every layer would make another", value.name);
                self.defect(Invariant::LayerLoop, step, what, "free it after its last use in the layer");
            }
        }
    }

    pub fn finish(mut self, results: &'a [String]) -> Walk {
        for name in results {
            match self.values.get_mut(name.as_str()) {
                Some(tracked) if matches!(tracked.state, State::Alive) => {
                    tracked.used = true;
                    if tracked.spec.memory.memory() == Memory::Dram {
                        let bytes = dram_bytes_per_bank(tracked.spec, self.context.card);
                        self.walk.dram_results = self.walk.dram_results.saturating_add(bytes);
                    }
                }
                _ => {
                    let place = Place::Phase(self.phase.kind);
                    let what = format!("result `{name}` is not alive after the last step");
                    self.defects.push(Invariant::Freed, place, what, "a result is defined and never freed");
                }
            }
        }
        for value in self.phase.steps().flat_map(|step| &step.outputs) {
            let Some(tracked) = self.values.get(value.name.as_str()) else { continue };
            if !matches!(tracked.state, State::Alive) || results.contains(&value.name) {
                continue;
            }
            let place = Place::Step(self.phase.kind, tracked.maker.to_owned());
            let what = format!("`{}` is still alive after the last step and is no result", value.name);
            self.defects.push(Invariant::Freed, place, what, "free it after its last use");
        }
        self.walk.defects = self.defects.0;
        self.walk
    }

    /// Asks the rule, if all operands are known; compares what it returns with what the step declares.
    fn check(&mut self, section: Section, step: &'a Step) -> Option<Outcome> {
        let mut specs = Vec::new();
        let mut complete = true;
        for operand in step.op.operands() {
            match self.operand(section, operand) {
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
        let outcome = match ttnn::check(&step.op, &specs, self.context.card) {
            Ok(outcome) => outcome,
            Err(violations) => {
                let call = format!("ttnn.{}: ", step.op.call());
                for violation in violations {
                    self.defects.broken(Invariant::Legal, self.place(step), &call, violation);
                }
                return None;
            }
        };
        let declared: Vec<_> = step.outputs.iter().map(|v| &v.spec).collect();
        if declared.len() != outcome.outputs.len() {
            let what = format!(
                "ttnn.{} returns {} tensors, {} are declared",
                step.op.call(),
                outcome.outputs.len(),
                declared.len()
            );
            self.defect(Invariant::Outputs, step, what, "");
        }
        for (value, real) in step.outputs.iter().zip(&outcome.outputs) {
            if value.spec != *real {
                let what =
                    format!("`{}` is declared {}, ttnn.{} returns {real}", value.name, value.spec, step.op.call());
                self.defect(Invariant::Outputs, step, what, "");
            }
        }
        Some(outcome)
    }

    fn operand(&self, section: Section, operand: &'a Ref) -> Result<&'a TensorSpec, (Invariant, String, &'static str)> {
        let per_layer = |per_layer: bool, spec| match per_layer && section != Section::Layer {
            true => Err((
                Invariant::Defined,
                format!("`{operand}` is one per layer, and this is no layer"),
                "use it in the layer",
            )),
            false => Ok(spec),
        };
        match operand {
            Ref::Weight(name) => match self.weights.get(name.as_str()) {
                Some(weight) => per_layer(weight.per_layer, &weight.spec),
                None => Err((Invariant::Defined, format!("the plan has no weight `{name}`"), "list it in `weights`")),
            },
            Ref::Buffer(name) => match self.buffers.get(name.as_str()) {
                Some(buffer) => per_layer(buffer.per_layer, &buffer.spec),
                None => Err((Invariant::Defined, format!("the plan has no buffer `{name}`"), "list it in `buffers`")),
            },
            Ref::Value(name) => match self.values.get(name.as_str()) {
                None => Err((
                    Invariant::Defined,
                    format!("`{name}` is used before it is defined"),
                    "an earlier step returns it",
                )),
                Some(Tracked { state: State::Alive, spec, .. }) => Ok(spec),
                Some(Tracked { state: State::Freed { by }, .. }) => Err((
                    Invariant::Alive,
                    format!("`{name}` is used after step `{by}` freed it"),
                    "free it after its last use",
                )),
                Some(Tracked { state: State::TakenOver { by }, .. }) => Err((
                    Invariant::Alive,
                    format!("`{name}` is used after step `{by}` took it over"),
                    "use that step's result",
                )),
            },
        }
    }

    /// Notes which values the step reads, then which it writes.
    fn mark(&mut self, step: &'a Step) {
        for operand in step.op.operands() {
            if let Some(tracked) = self.known_mut(operand) {
                tracked.used = true;
            }
        }
        for operand in step.op.written() {
            if let Some(tracked) = self.known_mut(operand) {
                tracked.used = false;
            }
            if matches!(operand, Ref::Weight(_)) {
                self.defect(Invariant::Defined, step, format!("weight `{operand}` is written"), "weights are constant");
            }
        }
    }

    fn known(&self, operand: &Ref) -> Option<&Tracked<'a>> {
        if let Ref::Value(name) = operand { self.values.get(name.as_str()) } else { None }
    }

    fn known_mut(&mut self, operand: &Ref) -> Option<&mut Tracked<'a>> {
        if let Ref::Value(name) = operand { self.values.get_mut(name.as_str()) } else { None }
    }

    fn define(&mut self, section: Section, step: &'a Step, name: &'a str, spec: &'a TensorSpec, address: Option<u64>) {
        let tracked = Tracked { spec, address, section, maker: &step.name, used: false, state: State::Alive };
        // A second value of the name hides the first: `Names` reports it.
        self.values.insert(name, tracked);
    }

    fn footprint(&self, step: &Step, outcome: Option<&Outcome>) -> Footprint {
        match outcome {
            Some(outcome) if outcome.programs > 0 => {
                let end = self.context.card.l1.end;
                let lowest = self.allocator.lowest().unwrap_or(end);
                Footprint { circular_buffers: outcome.circular_buffers, tensors: end.saturating_sub(lowest) }
            }
            // What the rules refuse has no footprint but the declared one.
            None => step.l1,
            Some(_) => Footprint::default(),
        }
    }

    fn live(&self) -> Vec<Resident> {
        let mut live = self.residents.clone();
        live.sort_by_key(|r| r.address);
        live
    }

    /// Memory for an output.
    fn make(&mut self, step: &Step, spec: &TensorSpec, name: &str) -> Option<u64> {
        match spec.memory.memory() {
            Memory::L1 => self.allocate(name, spec, self.place(step)),
            Memory::Dram => {
                self.dram_live = self.dram_live.saturating_add(dram_bytes_per_bank(spec, self.context.card));
                None
            }
        }
    }

    fn allocate(&mut self, name: &str, spec: &TensorSpec, place: Place) -> Option<u64> {
        match self.allocator.allocate(spec) {
            Ok(address) => {
                let bytes = buffer_bytes(spec, self.context.card);
                self.residents.push(Resident { name: name.to_owned(), address, bytes });
                Some(address)
            }
            Err(full) => {
                let what = format!("no room in L1 for `{name}`, {spec}: {full}");
                self.defects.push(Invariant::L1Capacity, place, what, "free values earlier, or keep some in DRAM");
                None
            }
        }
    }

    fn drop_memory(&mut self, spec: &TensorSpec, address: Option<u64>) {
        match spec.memory.memory() {
            Memory::L1 => self.release(address),
            Memory::Dram => {
                self.dram_live = self.dram_live.saturating_sub(dram_bytes_per_bank(spec, self.context.card))
            }
        }
    }

    fn release(&mut self, address: Option<u64>) {
        if let Some(address) = address {
            self.allocator.free(address);
            self.residents.retain(|r| r.address != address);
        }
    }

    fn rename(&mut self, from: &str, to: &str) {
        for resident in self.residents.iter_mut().filter(|r| r.name == from) {
            resident.name = to.to_owned();
        }
    }

    fn place(&self, step: &Step) -> Place {
        Place::Step(self.phase.kind, step.name.clone())
    }

    fn defect(&mut self, invariant: Invariant, step: &Step, what: impl Into<String>, hint: impl Into<String>) {
        self.defects.push(invariant, self.place(step), what, hint);
    }
}
