//! A plan made ready to execute: layers unrolled, operands resolved to slots, scalars evaluated.
//!
//! A weight or buffer that exists once per layer gets a slot for each layer. A value gets one slot for all layers of its phase: a layer frees
//! every value that it defines, so the next layer can use the same slots.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bitnetc_plan::op::{Ref, Role};
use bitnetc_plan::{Buffer, BufferRole, Phase, PhaseKind, Plan, Scalar, Step, TensorSpec, Trace, Weight};

use crate::device::{ResolvedStep, Slot};
use crate::weights::WeightError;
use crate::weights::in_layer;
use crate::weights::store::Scales;
use crate::{RuntimeError, integers};

/// A resolved plan.
#[derive(Debug)]
pub struct Program {
    /// Slots in use.
    pub slots: usize,
    /// One entry per weight and layer.
    pub weights: Vec<WeightSlot>,
    /// Index into the plan's buffers, slot; one entry per layer.
    pub buffers: Vec<(usize, Slot)>,
    /// In the plan's order.
    pub phases: Vec<PhaseProgram>,
}

/// Where a weight of a layer is.
#[derive(Debug, Clone, Copy)]
pub struct WeightSlot {
    /// Index into the plan's weights.
    pub index: usize,
    /// Layer; 0 for one that all share.
    pub layer: u32,
    /// Its slot.
    pub slot: Slot,
    /// See [`crate::device::Upload::integer`].
    pub integer: bool,
}

/// A resolved phase.
#[derive(Debug)]
pub struct PhaseProgram {
    /// Decode or prefill.
    pub kind: PhaseKind,
    /// Prologue and all layers.
    pub body: Vec<Arc<ResolvedStep>>,
    /// After the layers.
    pub epilogue: Vec<Arc<ResolvedStep>>,
    /// Values left alive.
    pub results: Vec<(String, Slot, Arc<TensorSpec>)>,
    /// How it is captured.
    pub trace: Option<Trace>,
    /// Slots that the epilogue itself defines.
    pub epilogue_slots: Vec<Slot>,
}

/// Names in reach of a step.
struct Names<'a> {
    plan: &'a Plan,
    scales: &'a Scales,
    weights: HashMap<&'a str, Vec<Slot>>,
    buffers: HashMap<&'a str, Vec<Slot>>,
    next: u32,
}

impl Program {
    /// Resolves `plan` with the scales of its ternary weights.
    ///
    /// # Errors
    /// A name that is not defined where it is used, a scale that is not known: the plan was not verified, or not with these weights.
    pub fn new(plan: &Plan, scales: &Scales) -> Result<Self, RuntimeError> {
        let mut names = Names { plan, scales, weights: HashMap::new(), buffers: HashMap::new(), next: 0 };
        let (mut weights, mut buffers) = (Vec::new(), Vec::new());
        for (index, Weight { name, per_layer, .. }) in plan.weights.iter().enumerate() {
            let slots = names.slots(*per_layer)?;
            weights.extend(slots.iter().zip(0..).map(|(&slot, layer)| WeightSlot {
                index,
                layer,
                slot,
                integer: false,
            }));
            names.weights.insert(name, slots);
        }
        for (index, Buffer { name, per_layer, .. }) in plan.buffers.iter().enumerate() {
            let slots = names.slots(*per_layer)?;
            buffers.extend(slots.iter().map(|slot| (index, *slot)));
            names.buffers.insert(name, slots);
        }
        let phases: Result<Vec<_>, _> = plan.phases.iter().map(|phase| names.phase(phase)).collect();
        let phases = phases?;
        let calls = phases.iter().flat_map(|phase| phase.body.iter().chain(&phase.epilogue));
        let mut integer: HashMap<Slot, bool> = HashMap::new();
        for call in calls {
            let uses = call.op.uses();
            for (slot, _) in call.operands.iter().zip(&uses).filter(|(_, used)| used.role == Role::Matrix) {
                *integer.entry(*slot).or_insert(true) &= call.integer;
            }
        }
        weights.iter_mut().for_each(|w| w.integer = integer.get(&w.slot).copied().unwrap_or(false));
        Ok(Program { phases, slots: names.next as usize, weights, buffers })
    }

    /// The slot of the buffer of a role that has one for all layers.
    pub fn buffer(&self, plan: &Plan, role: BufferRole) -> Option<Slot> {
        self.buffers.iter().find(|(index, _)| plan.buffers[*index].role == role).map(|(_, slot)| *slot)
    }
}

impl<'a> Names<'a> {
    fn slot(&mut self) -> Result<Slot, RuntimeError> {
        let slot = Slot(self.next);
        self.next = self.next.checked_add(1).ok_or(RuntimeError::TooManySlots)?;
        Ok(slot)
    }

    /// One slot for each layer, or the only one.
    fn slots(&mut self, per_layer: bool) -> Result<Vec<Slot>, RuntimeError> {
        (0..if per_layer { self.plan.model.layers } else { 1 }).map(|_| self.slot()).collect()
    }

    fn phase(&mut self, phase: &'a Phase) -> Result<PhaseProgram, RuntimeError> {
        let integers = integers::values(phase);
        let mut values: HashMap<&str, (Slot, Arc<TensorSpec>)> = HashMap::new();
        for value in phase.steps().flat_map(|step| &step.outputs) {
            values.insert(&value.name, (self.slot()?, Arc::new(value.spec.clone())));
        }
        let mut body = Vec::new();
        for step in &phase.prologue {
            body.push(self.resolve(phase, step, None, &values, &integers)?);
        }
        for layer in 0..self.plan.model.layers {
            for step in &phase.layer {
                body.push(self.resolve(phase, step, Some(layer), &values, &integers)?);
            }
        }
        let epilogue: Result<Vec<_>, _> =
            phase.epilogue.iter().map(|s| self.resolve(phase, s, None, &values, &integers)).collect();
        let result = |name: &String| match values.get(name.as_str()) {
            Some((slot, spec)) => Ok((name.clone(), *slot, Arc::clone(spec))),
            None => Err(RuntimeError::Lacks(format!("value `{name}`, a result of {:?}", phase.kind))),
        };
        let results: Result<Vec<_>, _> = phase.results.iter().map(result).collect();
        let own = phase.epilogue.iter().flat_map(|step| &step.outputs).map(|value| values[value.name.as_str()].0);
        Ok(PhaseProgram {
            kind: phase.kind,
            body,
            epilogue: epilogue?,
            results: results?,
            trace: phase.trace.clone(),
            epilogue_slots: own.collect(),
        })
    }

    /// `step` in `layer`, with its operands resolved and its scalars evaluated.
    fn resolve(
        &self,
        phase: &Phase,
        step: &Step,
        layer: Option<u32>,
        values: &HashMap<&str, (Slot, Arc<TensorSpec>)>,
        integers: &HashSet<&str>,
    ) -> Result<Arc<ResolvedStep>, RuntimeError> {
        let at = layer.unwrap_or(0);
        let slot = |operand: &&Ref| {
            let found = match operand {
                Ref::Value(name) => values.get(name.as_str()).map(|v| v.0),
                Ref::Weight(name) => of_layer(self.weights.get(name.as_str()), at),
                Ref::Buffer(name) => of_layer(self.buffers.get(name.as_str()), at),
            };
            let what = || format!("`{operand}`, which step `{}` of {:?} reads", step.name, phase.kind);
            found.ok_or_else(|| RuntimeError::Lacks(what()))
        };
        let operands: Result<Vec<_>, _> = step.op.operands().iter().map(slot).collect();
        let mut op = step.op.clone();
        for scalar in op.scalars_mut() {
            let value = scalar.evaluate(|pattern| self.scale(&in_layer(pattern, at)))?;
            *scalar = Scalar::constant(value);
        }
        let name = layer.map_or_else(|| step.name.clone(), |layer| format!("{}[{layer}]", step.name));
        let outputs = step.outputs.iter().map(|value| values[value.name.as_str()].clone()).collect();
        let integer = integers::is_integer_matmul(self.plan, &step.op, integers);
        Ok(Arc::new(ResolvedStep { name, phase: phase.kind, layer, op, operands: operands?, outputs, integer }))
    }

    fn scale(&self, tensor: &str) -> Result<f64, RuntimeError> {
        let lacks = || WeightError::Plan {
            weight: tensor.into(),
            why: "a constant depends on its scale, but no ternary weight of the plan is made of it".into(),
        };
        self.scales.get(tensor).copied().ok_or_else(|| lacks().into())
    }
}

/// The slot of one layer, or the only one.
fn of_layer(slots: Option<&Vec<Slot>>, layer: u32) -> Option<Slot> {
    let slots = slots?;
    slots.get(layer as usize).or_else(|| slots.first().filter(|_| slots.len() == 1)).copied()
}
