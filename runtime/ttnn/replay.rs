//! Replay: every phase of a plan executed call by call on a mock card, and TT-NN's answers held against the plan.
//!
//! Weights, buffers and caches are allocated per layer as on a card, without contents: nothing here depends on them. Prologue, the first
//! layer and the epilogue are asked twice: without dispatch for the sizes of circular, dataflow and scratchpad buffers, then for real
//! for acceptance, specs, addresses and the tensors a call allocates for itself. The other layers are run for real only.
//!
//! The results of a traced phase stay allocated, as they do where the trace is replayed.

mod report;

use std::collections::HashMap;

use bitnetc_plan::allocator::bytes_per_bank;
use bitnetc_plan::op::{Deallocate, View};
use bitnetc_plan::walk::{self, StepMemory, Walk};
use bitnetc_plan::{Card, Memory, Op, Phase, Plan, Ref, Step, TensorSpec};

use crate::call::Scope;
use crate::device_ops;
use crate::error::TtnnError;
use crate::graph::{BufferKind, Graph, RunMode};
use crate::lower::{self, Plain, value_key};
use crate::open_card::OpenCard;
use crate::python::Object;
use crate::spec;
use report::MAX_DIFFERENCES;

pub use report::{ACCEPTANCE, Difference, PhaseReport, Tally};

/// Replays a plan on an open mock card of the plan's kind.
///
/// # Errors
/// The card has another grid or other DRAM banks than the plan's; TT-NN cannot allocate the plan's weights or buffers, or answers with
/// something a plan cannot say. A call that TT-NN refuses is no error but a difference; the phase ends there.
pub fn replay(device: &OpenCard, plan: &Plan) -> Result<Vec<PhaseReport>, TtnnError> {
    let figures = |grid: (u32, u32), banks: u32| format!("{}x{} cores and {banks} DRAM banks", grid.0, grid.1);
    let planned = figures(plan.card.grid, plan.card.dram.banks);
    let found = figures(device.grid(), device.dram_banks());
    if planned != found {
        return Err(TtnnError::OtherCard { card: device.card().to_string(), planned, found });
    }
    let mut world = World::new(device, plan)?;
    let walks = walk::walks(walk::Context::from(plan), &plan.phases);
    let mut reports = Vec::new();
    for (phase, walk) in plan.phases.iter().zip(&walks.phases) {
        reports.push(world.phase(phase, walk)?);
    }
    Ok(reports)
}

/// The plan's tensors on the card.
struct World<'a> {
    device: &'a OpenCard,
    plan: &'a Plan,
    /// Scope names with one object per layer, or one for all.
    constants: Vec<(String, Vec<Object>)>,
    /// What was found of weights and buffers, for the report of the first phase.
    placed: (Tally, Vec<Difference>),
    /// L1 addresses of persistent weights.
    persistent: Vec<u64>,
    /// The address after the last weight, buffer or kept result in DRAM.
    dram_end: u64,
    /// Results of traced phases: a trace writes to them at every replay.
    kept: Vec<Object>,
}

impl<'a> World<'a> {
    fn new(device: &'a OpenCard, plan: &'a Plan) -> Result<Self, TtnnError> {
        let mut world = World {
            device,
            plan,
            constants: Vec::new(),
            placed: (Tally::default(), Vec::new()),
            persistent: Vec::new(),
            dram_end: plan.card.dram.base,
            kept: Vec::new(),
        };
        for weight in &plan.weights {
            let objects = world.place("weight", &weight.name, &weight.spec, weight.per_layer, weight.address)?;
            world.constants.push((lower::key(&Ref::Weight(weight.name.clone())), objects));
        }
        for buffer in &plan.buffers {
            let objects = world.place("buffer", &buffer.name, &buffer.spec, buffer.per_layer, buffer.address)?;
            world.constants.push((lower::key(&Ref::Buffer(buffer.name.clone())), objects));
        }
        Ok(world)
    }

    /// Allocates a weight or buffer of every layer, and compares its addresses.
    fn place(
        &mut self,
        kind: &'static str,
        name: &str,
        spec: &TensorSpec,
        per_layer: bool,
        address: Option<u64>,
    ) -> Result<Vec<Object>, TtnnError> {
        let layers = if per_layer { self.plan.model.layers } else { 1 };
        let bytes = bytes_per_bank(spec, &self.plan.card);
        let mut objects = Vec::new();
        for layer in 0..layers {
            let object = self.device.allocate(spec);
            let object =
                object.map_err(|error| TtnnError::Allocate { kind, name: name.to_owned(), source: Box::new(error) })?;
            let found = spec::address(&object)?;
            objects.push(object);
            match spec.memory.memory() {
                Memory::L1 => self.persistent.push(found),
                Memory::Dram => self.dram_end = self.dram_end.max(found + bytes),
            }
            let planned = address.map(|first| first + u64::from(layer) * bytes);
            self.placed.0.count(planned == Some(found));
            if planned != Some(found) && self.placed.1.len() < MAX_DIFFERENCES {
                self.placed.1.push(Difference {
                    phase: String::new(),
                    layer: per_layer.then_some(layer),
                    step: format!("{kind} `{name}`"),
                    what: "address",
                    planned: address_text(planned),
                    found: found.to_string(),
                });
            }
        }
        Ok(objects)
    }

    fn phase(&mut self, phase: &'a Phase, walk: &Walk) -> Result<PhaseReport, TtnnError> {
        let (addresses, differences) = std::mem::take(&mut self.placed);
        let mut run = Run {
            device: self.device,
            card: &self.plan.card,
            scope: Scope::default(),
            specs: self.plan.specs(phase),
            live: HashMap::new(),
            persistent: self.persistent.clone(),
            dram_end: self.dram_end,
            report: PhaseReport {
                phase: phase.kind.to_string(),
                addresses,
                differences,
                planned_high_water: phase.steps().map(|s| s.l1.high_water()).max().unwrap_or(0),
                ..PhaseReport::default()
            },
        };
        let (prologue, rest) = walk.steps.split_at(phase.prologue.len());
        let (layer_memory, epilogue) = rest.split_at(phase.layer.len());
        run.constants(&self.constants, 0);
        let mut going = run.steps(&phase.prologue, None, Some(prologue))?;
        for layer in 0..self.plan.model.layers {
            if going {
                run.constants(&self.constants, layer as usize);
                going = run.steps(&phase.layer, Some(layer), (layer == 0).then_some(layer_memory))?;
            }
        }
        if going {
            run.steps(&phase.epilogue, None, Some(epilogue))?;
        }
        if phase.trace.is_some() {
            for name in &phase.results {
                if let (Some(place), Some(object)) = (run.live.remove(name), run.scope.remove(&value_key(name))) {
                    self.dram_end = self.dram_end.max(place.dram_end());
                    self.kept.push(object);
                }
            }
        }
        run.release()?;
        Ok(run.report)
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        for object in self.constants.iter().flat_map(|(_, objects)| objects).chain(&self.kept) {
            // Freed with the device at the latest; an error has nobody to hear it.
            let _ = self.device.interpreter().ttnn().call_method("deallocate", &[object.into()], &[]);
        }
    }
}

/// Where a live value lies.
#[derive(Debug, Clone, Copy)]
struct Lies {
    memory: Memory,
    address: u64,
    /// In every bank.
    bytes: u64,
}

impl Lies {
    /// The address after it when it is in DRAM, otherwise 0.
    const fn dram_end(self) -> u64 {
        match self.memory {
            Memory::L1 => 0,
            Memory::Dram => self.address + self.bytes,
        }
    }

    const fn in_l1(self) -> Option<u64> {
        match self.memory {
            Memory::L1 => Some(self.address),
            Memory::Dram => None,
        }
    }
}

fn address_text(address: Option<u64>) -> String {
    address.map_or_else(|| "none".to_string(), |a| a.to_string())
}

/// One phase under way.
struct Run<'a> {
    device: &'a OpenCard,
    card: &'a Card,
    scope: Scope,
    /// The specs of the plan's tensors.
    specs: HashMap<Ref, &'a TensorSpec>,
    /// Every live value.
    live: HashMap<String, Lies>,
    persistent: Vec<u64>,
    /// The address after everything in DRAM that the phase found.
    dram_end: u64,
    report: PhaseReport,
}

impl Run<'_> {
    /// Binds weights and buffers of a layer.
    fn constants(&mut self, constants: &[(String, Vec<Object>)], layer: usize) {
        for (name, objects) in constants {
            let object = &objects[if objects.len() > 1 { layer } else { 0 }];
            self.scope.set(name.clone(), object.clone());
        }
    }

    /// Runs steps, closely where it is said what memory should be like; false when TT-NN refused one.
    fn steps(&mut self, steps: &[Step], layer: Option<u32>, planned: Option<&[StepMemory]>) -> Result<bool, TtnnError> {
        for (at, step) in steps.iter().enumerate() {
            let accepted = match planned {
                Some(planned) => self.closely(step, layer, &planned[at])?,
                None => self.plainly(step, layer)?,
            };
            if !accepted {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn difference(&mut self, layer: Option<u32>, step: &Step, what: &'static str, planned: String, found: String) {
        if self.report.differences.len() < MAX_DIFFERENCES || what == ACCEPTANCE {
            let (phase, step) = (self.report.phase.clone(), step.name.clone());
            self.report.differences.push(Difference { phase, layer, step, what, planned, found });
        }
    }

    /// For real only.
    fn plainly(&mut self, step: &Step, layer: Option<u32>) -> Result<bool, TtnnError> {
        let statement = lower::lower(step, &Plain);
        let result = statement.execute(self.device.interpreter(), &mut self.scope);
        self.outcome(step, layer, result)
    }

    /// Without dispatch for sizes, then for real.
    fn closely(&mut self, step: &Step, layer: Option<u32>, planned: &StepMemory) -> Result<bool, TtnnError> {
        if matches!(step.op, Op::Deallocate(_)) {
            return self.plainly(step, layer);
        }
        let statement = lower::lower(step, &Plain);
        let interpreter = self.device.interpreter();
        let sized = {
            let (call, scope) = (&statement.call, &self.scope);
            self.device.capture(RunMode::NoDispatch, || call.execute(interpreter, scope).map(drop))?
        };
        let scope = &mut self.scope;
        let real = self.device.capture(RunMode::Normal, || statement.execute(interpreter, scope))?;
        let accepted = self.outcome(step, layer, real.result)?;
        match sized.result {
            Ok(()) if accepted => self.memory(step, layer, planned, sized.graph.busiest_core(), &real.graph),
            // Its sizes are unknown then, which is no agreement.
            Err(error) if accepted => {
                self.report.buffers.count(false);
                self.difference(layer, step, "sizes", "accepted without dispatch".into(), error.to_string());
            }
            Ok(()) | Err(_) => {}
        }
        Ok(accepted)
    }

    /// Books acceptance, specs and addresses.
    fn outcome(&mut self, step: &Step, layer: Option<u32>, result: Result<(), TtnnError>) -> Result<bool, TtnnError> {
        let refused = result.err();
        self.report.accepted.count(refused.is_none());
        if let Some(error) = refused {
            self.difference(layer, step, ACCEPTANCE, "accepted".into(), error.to_string());
            return Ok(false);
        }
        // A view takes over the memory of its input.
        if let Op::Deallocate(Deallocate { input }) | Op::View(View { input, .. }) = &step.op {
            self.scope.remove(&value_key(input.name()));
            self.live.remove(input.name());
        }
        for value in &step.outputs {
            let object = self.scope.get(&step.name, &value_key(&value.name))?;
            let (found, address) = (spec::of_tensor(object)?, spec::address(object)?);
            let (memory, bytes) = (found.memory.memory(), bytes_per_bank(&found, self.card));
            self.live.insert(value.name.clone(), Lies { memory, address, bytes });
            self.report.specs.count(found == value.spec);
            if found != value.spec {
                self.difference(layer, step, "output", value.spec.to_string(), found.to_string());
            }
            self.report.addresses.count(Some(address) == value.address);
            if Some(address) != value.address {
                self.difference(layer, step, "address", address_text(value.address), address.to_string());
            }
        }
        Ok(true)
    }

    /// Books circular-buffer bytes and the high-water marks of a step that launches programs.
    fn memory(&mut self, step: &Step, layer: Option<u32>, planned: &StepMemory, buffers: u64, real: &Graph) {
        self.report.buffers.count(buffers == step.l1.circular_buffers);
        if buffers != step.l1.circular_buffers {
            let planned = step.l1.circular_buffers.to_string();
            self.difference(layer, step, "circular buffers", planned, buffers.to_string());
        }
        self.operations(step, layer, planned, real);
        if real.device_operations().next().is_none() {
            return;
        }
        let own = real.allocations().map(|a| {
            let memory = if a.kind == BufferKind::L1 { Memory::L1 } else { Memory::Dram };
            Lies { memory, address: a.address, bytes: a.bytes_per_bank }
        });
        let all: Vec<Lies> = own.chain(self.live.values().copied()).collect();
        let lowest = all.iter().filter_map(|l| l.in_l1()).chain(self.persistent.iter().copied()).min();
        let end = self.device.l1_range().1;
        let found = buffers + lowest.map_or(0, |a| end - a);
        self.report.found_high_water = self.report.found_high_water.max(found);
        self.high_water(layer, step, "high-water mark", step.l1.high_water(), found);
        let dram = |end: u64| end - self.card.dram.base;
        let found = dram(all.iter().map(|l| l.dram_end()).fold(self.dram_end, u64::max));
        let planned = dram(planned.dram_end);
        self.report.planned_dram = self.report.planned_dram.max(planned);
        self.report.found_dram = self.report.found_dram.max(found);
        self.high_water(layer, step, "DRAM high-water mark", planned, found);
    }

    /// Books the names of the device operations that ran.
    fn operations(&mut self, step: &Step, layer: Option<u32>, planned: &StepMemory, real: &Graph) {
        let operands: Vec<_> = step.op.operands().into_iter().filter_map(|o| self.specs.get(o).copied()).collect();
        let programs = planned.outcome.as_ref().map_or(0, |outcome| outcome.programs);
        let names = device_ops::names(&step.op, &operands, programs);
        let found: Vec<&str> = real.device_operations().collect();
        self.report.operations.count(found == names);
        if found != names {
            self.difference(layer, step, "device operations", names.join(", "), found.join(", "));
        }
    }

    fn high_water(&mut self, layer: Option<u32>, step: &Step, what: &'static str, planned: u64, found: u64) {
        self.report.high_waters.count(found == planned);
        if found != planned {
            self.difference(layer, step, what, planned.to_string(), found.to_string());
        }
    }

    /// Frees what the phase left: its results, or whatever was alive when TT-NN refused a step.
    fn release(&mut self) -> Result<(), TtnnError> {
        for name in self.live.keys() {
            if let Some(object) = self.scope.remove(&value_key(name)) {
                self.device.interpreter().ttnn().call_method("deallocate", &[object.into()], &[])?;
            }
        }
        Ok(())
    }
}
