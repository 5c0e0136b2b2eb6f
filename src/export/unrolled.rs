//! A phase as a card runs it: every layer's calls one after another, and every tensor with its address and its life.

use std::collections::HashMap;

use bitnetc_plan::allocator::bytes_per_bank;
use bitnetc_plan::op::{Access, Argument};
use bitnetc_plan::walk::{StepMemory, Walk};
use bitnetc_plan::{Phase, Plan, Ref, Section, Step, TensorSpec};

/// A tensor of one layer, or of none.
#[derive(Debug)]
pub struct Tensor<'a> {
    /// Where it lies, and in what form.
    pub spec: &'a TensorSpec,
    /// First byte, on every core or in every bank.
    pub address: u64,
    /// Bytes of every core or bank.
    pub bytes: u64,
    /// The call that returns it, by its index; none makes a weight or a buffer.
    pub made: Option<usize>,
    /// The last call that is given it, deallocations apart.
    pub used: Option<usize>,
    /// The call that frees it or takes it over.
    pub ended: Option<usize>,
    /// The call that frees it.
    pub freed: Option<usize>,
}

impl Tensor<'_> {
    /// Whether it holds memory while the call of an index runs.
    pub fn is_alive(&self, call: usize) -> bool {
        self.made.is_none_or(|made| made <= call) && self.ended.is_none_or(|ended| call < ended)
    }
}

/// A call of one layer, or of none.
#[derive(Debug)]
pub struct Call<'a> {
    /// The layer, outside of layers `None`.
    pub layer: Option<u32>,
    /// The step.
    pub step: &'a Step,
    /// The memory while it runs.
    pub memory: &'a StepMemory,
    /// The tensors it is given, by their indices, each with the name of the argument.
    pub inputs: Vec<(&'static str, usize)>,
    /// The tensors it returns or writes.
    pub outputs: Vec<usize>,
}

/// A whole phase.
#[derive(Debug)]
pub struct Unrolled<'a> {
    /// Weights and buffers of all layers, then values in the order of their making.
    pub tensors: Vec<Tensor<'a>>,
    /// In the order in which they run.
    pub calls: Vec<Call<'a>>,
}

impl<'a> Unrolled<'a> {
    /// Unrolls a phase of a plan that verifies, of which `walk` is the walk.
    pub fn of(plan: &'a Plan, phase: &'a Phase, walk: &'a Walk) -> Self {
        let mut unrolling = Unrolling {
            plan,
            constants: HashMap::new(),
            values: HashMap::new(),
            unrolled: Unrolled { tensors: Vec::new(), calls: Vec::new() },
        };
        for weight in &plan.weights {
            unrolling.constant(Ref::Weight(weight.name.clone()), &weight.spec, weight.per_layer, weight.address);
        }
        for buffer in &plan.buffers {
            unrolling.constant(Ref::Buffer(buffer.name.clone()), &buffer.spec, buffer.per_layer, buffer.address);
        }
        let steps: Vec<(&Step, &StepMemory)> = phase.steps().zip(&walk.steps).collect();
        let of = |section: Section| steps.iter().filter(move |(_, memory)| memory.section == section);
        of(Section::Prologue).for_each(|(step, memory)| unrolling.call(None, step, memory));
        for layer in 0..plan.model.layers {
            of(Section::Layer).for_each(|(step, memory)| unrolling.call(Some(layer), step, memory));
        }
        of(Section::Epilogue).for_each(|(step, memory)| unrolling.call(None, step, memory));
        unrolling.unrolled
    }
}

/// A phase half unrolled.
struct Unrolling<'a> {
    plan: &'a Plan,
    /// Of each weight and buffer the index of the first layer's tensor, and the step to the next layer's.
    constants: HashMap<Ref, (usize, usize)>,
    /// Of each value the tensor it stands for now.
    values: HashMap<&'a str, usize>,
    unrolled: Unrolled<'a>,
}

impl<'a> Unrolling<'a> {
    /// Lists a weight or buffer of every layer, whose addresses follow one another.
    fn constant(&mut self, name: Ref, spec: &'a TensorSpec, per_layer: bool, address: Option<u64>) {
        let layers = if per_layer { self.plan.model.layers } else { 1 };
        self.constants.insert(name, (self.unrolled.tensors.len(), usize::from(per_layer)));
        let bytes = bytes_per_bank(spec, &self.plan.card);
        for layer in 0..u64::from(layers) {
            self.tensor(spec, address.unwrap_or_default() + layer * bytes, None);
        }
    }

    fn tensor(&mut self, spec: &'a TensorSpec, address: u64, made: Option<usize>) -> usize {
        let bytes = bytes_per_bank(spec, &self.plan.card);
        let (used, ended, freed) = (None, None, None);
        self.unrolled.tensors.push(Tensor { spec, address, bytes, made, used, ended, freed });
        self.unrolled.tensors.len() - 1
    }

    /// The tensor that an operand names in a layer. A plan that verifies names no other.
    fn find(&self, operand: &Ref, layer: Option<u32>) -> Option<usize> {
        match operand {
            Ref::Value(name) => self.values.get(name.as_str()).copied(),
            Ref::Weight(_) | Ref::Buffer(_) => {
                let (first, step) = self.constants.get(operand)?;
                Some(first + step * layer.unwrap_or_default() as usize)
            }
        }
    }

    fn call(&mut self, layer: Option<u32>, step: &'a Step, memory: &'a StepMemory) {
        let at = self.unrolled.calls.len();
        let mut uses = Vec::new();
        step.op.arguments(&mut |name, argument| {
            if let Argument::Operand(found) = argument {
                uses.push((name, found));
            }
        });
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for (argument, found) in uses {
            let Some(tensor) = self.find(found.tensor, layer) else { continue };
            inputs.push((argument, tensor));
            let known = &mut self.unrolled.tensors[tensor];
            match found.access {
                Access::Read => known.used = Some(at),
                Access::Write => {
                    known.used = Some(at);
                    outputs.push(tensor);
                }
                Access::Rename => (known.used, known.ended) = (Some(at), Some(at)),
                Access::Free => (known.freed, known.ended) = (Some(at), Some(at)),
            }
        }
        for value in &step.outputs {
            let tensor = self.tensor(&value.spec, value.address.unwrap_or_default(), Some(at));
            self.values.insert(&value.name, tensor);
            outputs.push(tensor);
        }
        self.unrolled.calls.push(Call { layer, step, memory, inputs, outputs });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bitnetc_compiler::model;
    use bitnetc_compiler::target::Target;
    use bitnetc_compiler::{Options, compile};
    use bitnetc_plan::{Memory, verify};

    use super::*;

    #[test]
    fn tensors_live_where_and_as_long_as_the_walk_says() {
        let model = model::find("tiny-shakespeare").unwrap().model().unwrap();
        let options = Options { prefill: vec![32], ..Options::for_model(&model) };
        let plan = compile(&model, &Target::find("p150").unwrap(), &options).unwrap().plan.into_plan();
        let verified = verify(&plan).unwrap();
        for (phase, walk) in plan.phases.iter().zip(verified.walks()) {
            let unrolled = Unrolled::of(&plan, phase, walk);
            let layers = plan.model.layers as usize;
            assert_eq!(unrolled.calls.len(), phase.prologue.len() + layers * phase.layer.len() + phase.epilogue.len());
            for (at, call) in unrolled.calls.iter().enumerate().filter(|(_, call)| call.step.op.launches()) {
                let in_l1 = |t: &&Tensor| t.spec.memory.memory() == Memory::L1 && t.is_alive(at);
                let alive = unrolled.tensors.iter().filter(in_l1).map(|t| (t.address, t.bytes));
                let walked = call.memory.live.iter().filter(|r| r.name != "(temporary)").map(|r| (r.address, r.bytes));
                assert_eq!(alive.collect::<BTreeSet<_>>(), walked.collect::<BTreeSet<_>>(), "{}", call.step.name);
            }
            // All that a phase makes it frees, but for its results.
            let kept = unrolled.tensors.iter().filter(|t| t.made.is_some() && t.ended.is_none()).count();
            assert_eq!(kept, phase.results.len());
        }
    }
}
