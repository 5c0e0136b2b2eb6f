//! Candidates: the legal ways to run a call on a card, each with its cost. Every family of ops has a file of its own.
//!
//! A family enumerates the ways that come into question. [`Drafting`] checks each of their steps by the rules of
//! [`bitnetc_plan::ttnn::check`], so that every candidate is legal, and prices it with [`cost`]. Refused ways are kept as [`Rejection`]s,
//! so that `explain` can tell why they were not taken.

pub mod attention;
pub mod cost;
pub mod eltwise;
mod front;
pub mod heads;
pub mod lm_head;
pub mod matmul;
pub mod movement;
pub mod norm;
pub mod placements;
pub mod quantise;
pub mod ternary_linear;
pub mod token;

use bitnetc_plan::allocator::bytes_per_bank;
use bitnetc_plan::ttnn::{Constraint, Source, Values, Violation, check};
use bitnetc_plan::{Buffer, Cost, DType, Memory, MemoryConfig, Op, Ref, TensorSpec, Weight};

use rustc_hash::FxHashMap;

use crate::graph::PhaseKind;
use crate::schedule::{Call, Input, Kind, Schedule, ValueId};
use crate::target::Target;
use cost::Price;

/// A family keeps this rule and [`NAMED_RESULTS`] when it names the tensors of its steps. A breach is a defect of bitnetc.
static KNOWN_OPERAND: Constraint = Constraint {
    rule: "candidate",
    name: "KNOWN_OPERAND",
    source: Source::Bitnetc("a step can only read what is there"),
    holds: "Every operand of a step is a weight, a buffer or an earlier result.",
    text: "`{operand}` is not known to {step}",
    hint: "",
};

static NAMED_RESULTS: Constraint = Constraint {
    rule: "candidate",
    name: "NAMED_RESULTS",
    source: Source::Bitnetc("every result of a step has a name"),
    holds: "A step names as many results as its call returns.",
    text: "ttnn.{call} returns {returned} tensors, not {named}",
    hint: "",
};

/// The circumstances that the candidates of a call depend on.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The card and its calibration.
    pub target: &'a Target,
    /// The phase's values, weights and buffers.
    pub schedule: &'a Schedule,
    /// Decode or prefill.
    pub phase: PhaseKind,
    /// Position at which attention is priced.
    pub position: u32,
    /// Whether candidates that are known to lose are enumerated too, so that a person can read why.
    pub everything: bool,
}

impl Context<'_> {
    /// Whether the phase is decode.
    pub fn decode(&self) -> bool {
        matches!(self.phase, PhaseKind::Decode { .. })
    }

    /// L1 bytes per core of a tensor; 0 in DRAM.
    pub fn l1_bytes(&self, spec: &TensorSpec) -> u64 {
        if spec.memory.memory() == Memory::L1 { bytes_per_bank(spec, &self.target.card) } else { 0 }
    }

    /// The spec of a value in a placement.
    pub fn spec(&self, id: ValueId, memory: MemoryConfig) -> TensorSpec {
        let value = &self.schedule.values[id];
        TensorSpec { shape: value.shape.clone(), dtype: value.dtype, layout: value.layout, memory }
    }
}

/// One step of a candidate: a TT-NN call with its results.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// Name of the step.
    pub name: String,
    /// The call.
    pub op: Op,
    /// Names and specs of its results.
    pub outputs: Vec<(String, TensorSpec)>,
    /// Bytes of circular buffers.
    pub circular_buffers: u64,
    /// Predicted cost.
    pub cost: Cost,
}

/// One legal way to run a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// A short description.
    pub what: String,
    /// Placement of each value among the inputs, in order.
    pub requires: Vec<MemoryConfig>,
    /// Spec of each output, in order.
    pub produces: Vec<TensorSpec>,
    /// Its steps.
    pub drafts: Vec<Draft>,
    /// Weights only this candidate needs.
    pub weights: Vec<Weight>,
    /// Persistent buffers only this candidate needs.
    pub buffers: Vec<Buffer>,
    /// The number of chunks into which it cuts its weight; 1 for every call but the LM head.
    pub chunks: u32,
    /// Predicted time.
    pub price: Price,
    /// L1 bytes per core at the worst of its steps: outputs are included, inputs and other live tensors are not.
    pub peak: u64,
}

/// A way that TT-NN refuses.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejection {
    /// A short description.
    pub what: String,
    /// The constraints that it breaks.
    pub violations: Vec<Violation>,
}

/// The ways of one call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ways {
    /// Legal ones.
    pub candidates: Vec<Candidate>,
    /// Refused ones.
    pub rejections: Vec<Rejection>,
}

impl Ways {
    /// Adds a way by drafting its steps.
    pub fn consider(
        &mut self,
        cx: &Context<'_>,
        call: &Call,
        requires: Vec<MemoryConfig>,
        what: impl FnOnce() -> String,
        steps: impl FnOnce(&mut Drafting<'_>) -> Result<(), Vec<Violation>>,
    ) {
        let mut drafting = Drafting::new(cx, call, &requires);
        match steps(&mut drafting) {
            Ok(()) => self.candidates.push(drafting.finish(what(), requires)),
            Err(violations) => self.rejections.push(Rejection { what: what(), violations }),
        }
    }
}

/// Every way to run `call`.
pub fn ways(call: &Call, cx: &Context<'_>) -> Ways {
    let mut ways = Ways::default();
    match &call.kind {
        Kind::Embedding => movement::embedding(call, cx, &mut ways),
        Kind::RmsNorm { epsilon } => norm::ways(call, cx, epsilon, &mut ways),
        Kind::HeadNorm { epsilon } => norm::heads(call, cx, epsilon, &mut ways),
        Kind::Bias => eltwise::bias(call, cx, &mut ways),
        Kind::Matmul { activation, precision, two_bits } => {
            if precision.weight != DType::Bfp2 {
                matmul::ways(call, cx, *activation, *precision, &mut ways);
            }
            ternary_linear::ways(call, cx, *activation, *precision, two_bits.as_deref(), &mut ways);
        }
        Kind::Gated { precision, gate, up } => ternary_linear::gated(call, cx, *precision, [gate, up], &mut ways),
        Kind::LmHead { matrix, precision, chunks } => lm_head::ways(call, cx, matrix, *precision, chunks, &mut ways),
        Kind::Join => movement::join(call, cx, &mut ways),
        Kind::CreateHeads { heads, kv_heads, head_dim, cores } => {
            heads::create(call, cx, [*heads, *kv_heads, *head_dim], *cores, &mut ways)
        }
        Kind::ConcatHeads { heads } => heads::concat(call, cx, *heads, &mut ways),
        Kind::RotaryRows => attention::rotary_rows(call, cx, &mut ways),
        Kind::RotaryFused => attention::rotary_fused(call, cx, &mut ways),
        Kind::Rotary => attention::rotary(call, cx, &mut ways),
        Kind::CacheUpdate => attention::cache_update(call, cx, &mut ways),
        Kind::CacheUpdateOne => attention::cache_update_one(call, cx, &mut ways),
        Kind::CacheFill => attention::cache_fill(call, cx, &mut ways),
        Kind::Attention { scale, precision, context, block } => {
            let ask = attention::Ask { scale, precision: *precision, context: *context, block: *block };
            attention::attention(call, cx, &ask, &mut ways);
        }
        Kind::AddInto { scale } => eltwise::add_into(call, cx, scale, &mut ways),
        Kind::AddDequantized { scale, floor } => quantise::add_dequantized(call, cx, scale, floor, &mut ways),
        Kind::Multiply { a, b } => eltwise::multiply(call, cx, a, b, &mut ways),
        Kind::Quantize { floor, own_kernels } => quantise::quantize(call, cx, (floor, *own_kernels), &mut ways),
        Kind::Dequantize { scale, floor, power } => quantise::dequantize(call, cx, (scale, floor, *power), &mut ways),
        Kind::Scale { scale } => eltwise::scale(call, cx, scale, &mut ways),
        Kind::Typecast => movement::typecast(call, cx, &mut ways),
        Kind::LastTile => movement::last_tile(call, cx, &mut ways),
        Kind::ArgMax => token::argmax(call, cx, &mut ways),
        Kind::TopK => token::top_k(call, cx, &mut ways),
        Kind::Seed => token::seed(call, cx, &mut ways),
        Kind::Sample => token::sample(call, cx, &mut ways),
        Kind::PlusOne { skip_negative } => movement::plus_one(call, cx, *skip_negative, &mut ways),
    }
    ways
}

/// A candidate while its steps are written; each step is checked and priced when it is added.
pub struct Drafting<'a> {
    cx: &'a Context<'a>,
    call: &'a Call,
    /// Specs of operands by their reference.
    known: Vec<(Ref, TensorSpec)>,
    extra_weights: Vec<Weight>,
    extra_buffers: Vec<Buffer>,
    drafts: Vec<Draft>,
    /// L1 bytes of each draft's circular buffers and temporaries.
    workspace: Vec<u64>,
    price: Price,
    chunks: u32,
}

impl<'a> Drafting<'a> {
    fn new(cx: &'a Context<'a>, call: &'a Call, requires: &[MemoryConfig]) -> Self {
        let mut known = Vec::with_capacity(call.inputs.len() + 4);
        let mut placements = requires.iter();
        for input in &call.inputs {
            match input {
                Input::Value(id) => {
                    let memory = placements.next().cloned().unwrap_or(MemoryConfig::DRAM);
                    known.push((Ref::Value(cx.schedule.values[*id].name.clone()), cx.spec(*id, memory)));
                }
                other => {
                    if let Some(spec) = cx.schedule.fixed_spec(other) {
                        known.push((reference(cx.schedule, other), spec.clone()));
                    }
                }
            }
        }
        Drafting {
            cx,
            call,
            known,
            extra_weights: Vec::new(),
            extra_buffers: Vec::new(),
            drafts: Vec::new(),
            workspace: Vec::new(),
            price: Price::default(),
            chunks: 1,
        }
    }

    /// The reference of the call's `at`th input.
    pub fn input(&self, at: usize) -> Ref {
        self.known.get(at).map_or_else(|| Ref::Value(String::new()), |(r, _)| r.clone())
    }

    /// The spec of the call's `at`th input.
    pub fn input_spec(&self, at: usize) -> Option<&TensorSpec> {
        self.known.get(at).map(|(_, spec)| spec)
    }

    /// The spec of a value that an earlier step of the draft made.
    pub fn spec(&self, name: &str) -> Option<&TensorSpec> {
        let made = |(known, _): &&(Ref, TensorSpec)| matches!(known, Ref::Value(value) if value == name);
        self.known.iter().rev().find(made).map(|(_, spec)| spec)
    }

    /// Name of the call's `at`th output.
    pub fn output_name(&self, at: usize) -> String {
        self.call.outputs.get(at).map_or_else(String::new, |id| self.cx.schedule.values[*id].name.clone())
    }

    /// Declares a weight that only this candidate uses.
    pub fn weight(&mut self, weight: Weight) -> Ref {
        let reference = Ref::Weight(weight.name.clone());
        self.known.push((reference.clone(), weight.spec.clone()));
        self.extra_weights.push(weight);
        reference
    }

    /// Declares a persistent buffer that only this candidate uses.
    pub fn buffer(&mut self, buffer: Buffer) -> Ref {
        let reference = Ref::Buffer(buffer.name.clone());
        self.known.push((reference.clone(), buffer.spec.clone()));
        self.extra_buffers.push(buffer);
        reference
    }

    /// Records the number of chunks into which the call was cut.
    pub fn cut_into(&mut self, chunks: u32) {
        self.chunks = chunks;
    }

    /// Adds the one step of a call: named like it, with its outputs.
    pub fn step(&mut self, op: impl Into<Op>) -> Result<(), Vec<Violation>> {
        let outputs = (0..self.call.outputs.len()).map(|at| self.output_name(at)).collect();
        self.named_step(self.call.name.clone(), op, outputs)
    }

    /// Adds a step with a name and names for its results.
    pub fn named_step(&mut self, name: String, op: impl Into<Op>, outputs: Vec<String>) -> Result<(), Vec<Violation>> {
        let op = op.into();
        let mut specs = Vec::with_capacity(6);
        for operand in op.operands() {
            let Some((_, spec)) = self.known.iter().rev().find(|(r, _)| r == operand) else {
                return Err(vec![Violation::new(&KNOWN_OPERAND, &[("operand", &operand.name()), ("step", &name)])]);
            };
            specs.push(spec);
        }
        let outcome = check(&op, &specs, &self.cx.target.card)?;
        if outcome.outputs.len() != outputs.len() {
            let (returned, named) = (outcome.outputs.len(), outputs.len());
            let values: Values<'_> = &[("call", &op.call()), ("returned", &returned), ("named", &named)];
            return Err(vec![Violation::new(&NAMED_RESULTS, values)]);
        }
        let cost = cost::cost(&op, &specs, &outcome, self.cx);
        self.price = self.price + Price::of_call(&op, &specs, &cost, self.cx);
        let temporaries: u64 = outcome.temporaries.iter().map(|t| self.cx.l1_bytes(&t.spec)).sum();
        self.workspace.push(outcome.circular_buffers + temporaries);
        let outputs: Vec<_> = outputs.into_iter().zip(outcome.outputs).collect();
        for (name, spec) in &outputs {
            self.known.push((Ref::Value(name.clone()), spec.clone()));
        }
        self.drafts.push(Draft { name, op, outputs, circular_buffers: outcome.circular_buffers, cost });
        Ok(())
    }

    /// L1 bytes at the worst of the drafts: its workspace, its results, and the earlier results that are still needed.
    fn peak(&self) -> u64 {
        let mut last_read = FxHashMap::default();
        for (at, draft) in self.drafts.iter().enumerate() {
            let values = draft.op.operands().into_iter().filter(|r| matches!(r, Ref::Value(_)));
            last_read.extend(values.map(|r| (r.name(), at)));
        }
        for id in &self.call.outputs {
            last_read.insert(&self.cx.schedule.values[*id].name, self.drafts.len());
        }
        let mut bytes = self.workspace.clone();
        for (made, draft) in self.drafts.iter().enumerate() {
            for (name, spec) in &draft.outputs {
                let size = self.cx.l1_bytes(spec);
                let last = last_read.get(name.as_str()).map_or(made, |last| made.max(*last));
                bytes[made..].iter_mut().take(last + 1 - made).for_each(|b| *b += size);
            }
        }
        bytes.into_iter().max().unwrap_or(0)
    }

    fn finish(self, what: String, requires: Vec<MemoryConfig>) -> Candidate {
        let produces = self
            .call
            .outputs
            .iter()
            .map(|id| {
                let name = &self.cx.schedule.values[*id].name;
                let found = self.known.iter().rev().find(|(r, _)| matches!(r, Ref::Value(n) if n == name));
                found.map_or_else(|| self.cx.spec(*id, MemoryConfig::DRAM), |(_, spec)| spec.clone())
            })
            .collect();
        let price = self.price;
        let peak = self.peak();
        Candidate {
            what,
            requires,
            produces,
            drafts: self.drafts,
            weights: self.extra_weights,
            buffers: self.extra_buffers,
            chunks: self.chunks,
            price,
            peak,
        }
    }
}

/// The plan's reference of an input.
pub fn reference(schedule: &Schedule, input: &Input) -> Ref {
    match input {
        Input::Value(id) => Ref::Value(schedule.values[*id].name.clone()),
        Input::Weight(name) => Ref::Weight(name.clone()),
        Input::Buffer(name) => Ref::Buffer(name.clone()),
    }
}
