//! Replay: every phase of a plan executed call by call on a mock card, and TT-NN's answers held against the plan.
//!
//! Weights, buffers and caches are allocated per layer as on a card, without contents: nothing here depends on them. Prologue, the first
//! layer and the epilogue are asked twice: without dispatch for the sizes of circular, dataflow and scratchpad buffers, then for real
//! for acceptance, specs, addresses and the tensors a call allocates for itself. The other layers are run for real only.

use std::collections::HashMap;
use std::fmt;

use bitnetc_plan::op::{Deallocate, View};
use bitnetc_plan::{Memory, Op, Phase, Plan, Ref, Step, TensorSpec};

use crate::call::Scope;
use crate::error::TtnnError;
use crate::graph::{Graph, RunMode};
use crate::lower::{self, Plain, value_key};
use crate::open_card::OpenCard;
use crate::python::Object;
use crate::spec;

/// A difference between plan and TT-NN.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// The phase; empty for weights.
    pub phase: String,
    /// The layer, outside of layers `None`.
    pub layer: Option<u32>,
    /// The step or weight.
    pub step: String,
    /// The property that differs.
    pub what: &'static str,
    /// The plan's value.
    pub planned: String,
    /// TT-NN's value.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { phase, layer, step, what, planned, found } = self;
        match (phase.is_empty(), layer) {
            (true, _) => write!(f, "weight `{step}`: ")?,
            (false, Some(layer)) => write!(f, "{phase}, layer {layer}, step `{step}`: ")?,
            (false, None) => write!(f, "{phase}, step `{step}`: ")?,
        }
        if *what == ACCEPTANCE {
            write!(f, "refused: {found}")
        } else {
            write!(f, "{what} planned {planned}, TT-NN {found}")
        }
    }
}

/// Agreement in numbers: how many of how many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// Equal.
    pub equal: u64,
    /// Asked.
    pub of: u64,
}

impl Tally {
    fn count(&mut self, equal: bool) {
        self.of += 1;
        self.equal += u64::from(equal);
    }

    /// All of them equal.
    pub const fn complete(self) -> bool {
        self.equal == self.of
    }
}

/// The result of replaying one phase.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct PhaseReport {
    /// `decode`, `prefill 128`.
    pub phase: String,
    /// Calls accepted, over all layers.
    pub accepted: Tally,
    /// Output specs equal.
    pub specs: Tally,
    /// L1 addresses equal.
    pub addresses: Tally,
    /// Circular-buffer bytes equal, each step once.
    pub buffers: Tally,
    /// Steps whose high-water mark is equal.
    pub high_waters: Tally,
    /// Predicted high-water mark of the phase, bytes per core.
    pub planned_high_water: u64,
    /// TT-NN's.
    pub found_high_water: u64,
    /// The first differences, in order.
    pub differences: Vec<Difference>,
}

impl PhaseReport {
    /// Everything accepted and equal.
    pub fn agrees(&self) -> bool {
        let all = [self.accepted, self.specs, self.addresses, self.buffers, self.high_waters];
        all.iter().all(|t| t.complete()) && self.planned_high_water == self.found_high_water
    }
}

/// [`Difference::what`] of a call that TT-NN refuses.
pub const ACCEPTANCE: &str = "acceptance";

/// Differences kept per phase: one cause often shows in every layer.
const MAX_DIFFERENCES: usize = 20;

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
    let mut reports = Vec::new();
    for phase in &plan.phases {
        reports.push(world.phase(phase)?);
    }
    Ok(reports)
}

/// The plan's tensors on the card.
struct World<'a> {
    device: &'a OpenCard,
    plan: &'a Plan,
    /// Scope names with one object per layer, or one for all.
    constants: Vec<(String, Vec<Object>)>,
    weight_differences: Vec<Difference>,
    /// L1 addresses of persistent weights.
    persistent: Vec<u64>,
    weight_addresses: Tally,
}

impl<'a> World<'a> {
    fn new(device: &'a OpenCard, plan: &'a Plan) -> Result<Self, TtnnError> {
        let mut world = World {
            device,
            plan,
            constants: Vec::new(),
            weight_differences: Vec::new(),
            persistent: Vec::new(),
            weight_addresses: Tally::default(),
        };
        for weight in &plan.weights {
            let objects = world.allocate("weight", &weight.name, &weight.spec, weight.per_layer)?;
            if weight.spec.memory.memory() == Memory::L1 {
                let found = spec::address(&objects[0])?;
                world.persistent.push(found);
                world.weight_addresses.count(weight.address == Some(found));
                if weight.address != Some(found) {
                    world.weight_differences.push(Difference {
                        phase: String::new(),
                        layer: None,
                        step: weight.name.clone(),
                        what: "address",
                        planned: address_text(weight.address),
                        found: found.to_string(),
                    });
                }
            }
            world.constants.push((lower::key(&Ref::Weight(weight.name.clone())), objects));
        }
        for buffer in &plan.buffers {
            let objects = world.allocate("buffer", &buffer.name, &buffer.spec, buffer.per_layer)?;
            world.constants.push((lower::key(&Ref::Buffer(buffer.name.clone())), objects));
        }
        Ok(world)
    }

    fn allocate(
        &self,
        kind: &'static str,
        name: &str,
        spec: &TensorSpec,
        per_layer: bool,
    ) -> Result<Vec<Object>, TtnnError> {
        let count = if per_layer { self.plan.model.layers } else { 1 };
        let objects = (0..count).map(|_| self.device.allocate(spec)).collect::<Result<_, _>>();
        objects.map_err(|error| TtnnError::Allocate { kind, name: name.to_owned(), source: Box::new(error) })
    }

    fn phase(&mut self, phase: &Phase) -> Result<PhaseReport, TtnnError> {
        let mut run = Run {
            device: self.device,
            scope: Scope::default(),
            live: HashMap::new(),
            persistent: self.persistent.clone(),
            report: PhaseReport {
                phase: phase.kind.to_string(),
                addresses: self.weight_addresses,
                differences: self.weight_differences.clone(),
                planned_high_water: phase.steps().map(|s| s.l1.high_water()).max().unwrap_or(0),
                ..PhaseReport::default()
            },
        };
        run.constants(&self.constants, 0);
        let mut going = run.steps(&phase.prologue, None, true)?;
        for layer in 0..self.plan.model.layers {
            if going {
                run.constants(&self.constants, layer as usize);
                going = run.steps(&phase.layer, Some(layer), layer == 0)?;
            }
        }
        if going {
            run.steps(&phase.epilogue, None, true)?;
        }
        run.release()?;
        Ok(run.report)
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        for (_, objects) in &self.constants {
            for object in objects {
                // Freed with the device at the latest; an error has nobody to hear it.
                let _ = self.device.interpreter().ttnn().call_method("deallocate", &[object.into()], &[]);
            }
        }
    }
}

fn address_text(address: Option<u64>) -> String {
    address.map_or_else(|| "DRAM".to_string(), |a| a.to_string())
}

/// One phase under way.
struct Run<'a> {
    device: &'a OpenCard,
    scope: Scope,
    /// L1 address, or `None` in DRAM, of every live value.
    live: HashMap<String, Option<u64>>,
    persistent: Vec<u64>,
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

    /// Runs steps; false when TT-NN refused one.
    fn steps(&mut self, steps: &[Step], layer: Option<u32>, closely: bool) -> Result<bool, TtnnError> {
        for step in steps {
            let accepted = if closely { self.closely(step, layer)? } else { self.plainly(step, layer)? };
            if !accepted {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn difference(&mut self, layer: Option<u32>, step: &Step, what: &'static str, planned: String, found: String) {
        if self.report.differences.len() < MAX_DIFFERENCES {
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
    fn closely(&mut self, step: &Step, layer: Option<u32>) -> Result<bool, TtnnError> {
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
            Ok(()) if accepted => self.memory(step, layer, sized.graph.busiest_core(), &real.graph),
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
            let (found, in_l1) = (spec::of_tensor(object)?, value.spec.memory.memory() == Memory::L1);
            let address = if in_l1 { Some(spec::address(object)?) } else { None };
            self.live.insert(value.name.clone(), address);
            self.report.specs.count(found == value.spec);
            if found != value.spec {
                self.difference(layer, step, "output", value.spec.to_string(), found.to_string());
            }
            if in_l1 {
                self.report.addresses.count(address == value.address);
                if address != value.address {
                    let (planned, found) = (address_text(value.address), address_text(address));
                    self.difference(layer, step, "address", planned, found);
                }
            }
        }
        Ok(true)
    }

    /// Books circular-buffer bytes and the high-water mark of a step that launches programs.
    fn memory(&mut self, step: &Step, layer: Option<u32>, buffers: u64, real: &Graph) {
        self.report.buffers.count(buffers == step.l1.circular_buffers);
        if buffers != step.l1.circular_buffers {
            let planned = step.l1.circular_buffers.to_string();
            self.difference(layer, step, "circular buffers", planned, buffers.to_string());
        }
        if real.device_operations().next().is_none() {
            return;
        }
        let own = real.l1_addresses();
        let ended = step.op.operands().into_iter().filter_map(|r| match r {
            Ref::Value(name) => self.live.get(name).copied().flatten(),
            Ref::Weight(_) | Ref::Buffer(_) => None,
        });
        let others = self.live.values().copied().flatten().chain(self.persistent.iter().copied());
        let lowest = own.chain(ended).chain(others).min();
        let end = self.device.l1_range().1;
        let found = buffers + lowest.map_or(0, |a| end - a);
        self.report.found_high_water = self.report.found_high_water.max(found);
        self.report.high_waters.count(found == step.l1.high_water());
        if found != step.l1.high_water() {
            self.difference(layer, step, "high-water mark", step.l1.high_water().to_string(), found.to_string());
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
