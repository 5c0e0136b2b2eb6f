//! The compiler: a model, a target and options in, a verified plan out.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bitnetc_plan::{
    FORMAT_VERSION, Invariant, Memory, ModelInfo, Options as PlanOptions, Phase as PlanPhase, PhaseCost, PhaseKind,
    Plan, Weight, l1, verify, walk,
};

use crate::graph::{Graph, NodeId, Op, Phase};
use crate::model::Model;
use crate::passes::precision::Decision;
use crate::passes::{self, Fold, PlaceError, Placed, SelectError, Setting};
use crate::policy::Override;
use crate::schedule::{HeadCores, Kind, Schedule};
use crate::target::Target;
use crate::ttnn::Context;
use crate::{CompileError, Options};

/// A plan and how it came about.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The verified plan.
    pub plan: Plan,
    /// Per phase, in the plan's order: every call with what was considered for it.
    pub record: Vec<PhaseRecord>,
    /// Wall time by pass, all phases together.
    pub timings: Vec<(&'static str, Duration)>,
}

/// How a phase came about.
#[derive(Debug, Clone)]
pub struct PhaseRecord {
    /// The phase.
    pub kind: PhaseKind,
    /// Precision asked, used and proved, by node name.
    pub precision: Vec<(String, Decision)>,
    /// Weight scales that were moved, and where to.
    pub folds: Vec<Fold>,
    /// The calls before they were placed.
    pub schedule: Schedule,
    /// L1 bytes per core that placing left alone: the persistent tensors, and what fragmentation wastes.
    pub reserved: u64,
    /// Choices of placement.
    pub placed: Placed,
}

impl PhaseRecord {
    /// The phase as graphs name it.
    pub fn phase(&self) -> Phase {
        match self.kind {
            PhaseKind::Decode { batch } => Phase::Decode { batch: batch as usize },
            PhaseKind::Prefill { tokens } => Phase::Prefill { seq: tokens as usize },
        }
    }
}

/// Compiles `model` for `target`.
///
/// # Errors
/// When an option is out of range, the model has no counterpart in TT-NN, or the card cannot hold it.
pub fn compile(model: &Model, target: &Target, options: &Options) -> Result<Compiled, CompileError> {
    options.validate(model)?;
    let mut compiler = Compiler::new(model, target, options)?;
    compiler.phase(PhaseKind::Decode { batch: options.batch })?;
    let mut buckets = options.prefill.clone();
    buckets.sort_unstable();
    buckets.dedup();
    for tokens in buckets {
        compiler.phase(PhaseKind::Prefill { tokens })?;
    }
    compiler.finish()
}

/// State of a compilation.
struct Compiler<'a> {
    model: &'a Model,
    target: &'a Target,
    options: &'a Options,
    overrides: Vec<Override>,
    plan: Plan,
    record: Vec<PhaseRecord>,
    timings: Vec<(&'static str, Duration)>,
    lm_head_chunks: Option<u32>,
}

impl<'a> Compiler<'a> {
    fn new(model: &'a Model, target: &'a Target, options: &'a Options) -> Result<Self, CompileError> {
        let mut overrides = Vec::new();
        for (role, text) in &model.precision {
            overrides.push(Override::for_role(*role, text)?);
        }
        overrides.extend(options.overrides.iter().cloned());
        let vocab = model.statements.iter().find_map(|s| match &s.op {
            Op::Embedding { weight } => weight.shape.first().copied(),
            _ => None,
        });
        let plan = Plan {
            format: FORMAT_VERSION,
            model: ModelInfo {
                name: model.name.clone(),
                digest: model.digest.clone(),
                layers: model.layers as u32,
                vocab: vocab.unwrap_or(0) as u32,
            },
            options: PlanOptions {
                policy: options.policy.to_string(),
                overrides: overrides.iter().map(ToString::to_string).collect(),
                batch: options.batch,
                context: options.context,
                block: options.block,
                priced_at: options.priced_at(),
                proofs: options.proofs,
                folding: options.folding,
            },
            card: target.card.clone(),
            weights: Vec::new(),
            buffers: Vec::new(),
            phases: Vec::new(),
        };
        Ok(Compiler {
            model,
            target,
            options,
            overrides,
            plan,
            record: Vec::new(),
            timings: Vec::new(),
            lm_head_chunks: None,
        })
    }

    /// Times a pass.
    fn timed<T>(&mut self, pass: &'static str, run: impl FnOnce(&mut Self) -> T) -> T {
        let started = Instant::now();
        let result = run(self);
        let spent = started.elapsed();
        match self.timings.iter_mut().find(|(name, _)| *name == pass) {
            Some((_, total)) => *total += spent,
            None => self.timings.push((pass, spent)),
        }
        result
    }

    /// All passes over one phase, in order.
    fn phase(&mut self, kind: PhaseKind) -> Result<(), CompileError> {
        let phase = match kind {
            PhaseKind::Decode { batch } => Phase::Decode { batch: batch as usize },
            PhaseKind::Prefill { tokens } => Phase::Prefill { seq: tokens as usize },
        };
        let mut graph = self.timed("graph", |c| c.model.to_graph(phase, c.options.context as usize))?;
        let folds = self
            .timed("fuse", |c| passes::prepare(&mut graph, c.options.policy, c.options.folding))
            .map_err(|error| CompileError::Fuse { phase: kind, error })?;
        graph.check().map_err(|errors| CompileError::Graph { phase: kind, errors })?;
        let decisions =
            self.timed("precision", |c| passes::precision(&graph, c.options.policy, &c.overrides, c.options.proofs));
        let (constants, buffers) = (self.plan.weights.len(), self.plan.buffers.len());
        let mut attempt = self.attempt(&graph, &decisions, HeadCores::Disjoint, phase, kind);
        if matches!(phase, Phase::Decode { .. })
            && matches!(&attempt, Err(CompileError::Place { error: PlaceError::NoWay { .. }, .. }))
        {
            // What the first attempt declared, the second declares otherwise.
            self.plan.weights.truncate(constants);
            self.plan.buffers.truncate(buffers);
            attempt = self.attempt(&graph, &decisions, HeadCores::Shared, phase, kind);
        }
        let (schedule, placed, reserved) = attempt?;
        let precision = named(&graph, &decisions);
        self.record.push(PhaseRecord { kind, precision, folds, schedule, reserved, placed });
        Ok(())
    }

    /// Selects and places a phase with q and k of decode on such cores.
    fn attempt(
        &mut self,
        graph: &Graph,
        decisions: &HashMap<NodeId, Decision>,
        heads: HeadCores,
        phase: Phase,
        kind: PhaseKind,
    ) -> Result<(Schedule, Placed, u64), CompileError> {
        let schedule = self
            .timed("select", |c| c.select(graph, decisions, heads))
            .map_err(|error| CompileError::Select { phase: kind, error })?;
        let (placed, reserved) = self.place_until_it_fits(&schedule, phase, kind)?;
        Ok((schedule, placed, reserved))
    }

    fn select(
        &self,
        graph: &Graph,
        decisions: &HashMap<NodeId, Decision>,
        heads: HeadCores,
    ) -> Result<Schedule, SelectError> {
        let setting = Setting {
            precision: decisions,
            cache: self.cache_dtype(graph, decisions),
            batch: self.options.batch,
            block: self.options.block,
            card: &self.target.card,
            lm_head_chunks: self.lm_head_chunks,
            heads,
        };
        passes::select(graph, &setting)
    }

    /// The KV cache has the data type attention was given.
    fn cache_dtype(&self, graph: &Graph, decisions: &HashMap<NodeId, Decision>) -> bitnetc_plan::DType {
        let attention = graph.nodes().find(|n| matches!(graph.node(*n).op, Op::Attention { .. }));
        attention.and_then(|n| decisions.get(&n)).map_or(self.options.policy.cache(), |d| d.used.weight)
    }

    /// Places a schedule and adds the phase to the plan.
    ///
    /// The search sums live tensors and does not see fragmentation; the walk over the allocator model does. What a step overflows by
    /// is then reserved, and the search does without it. Answers also how much is reserved in the end.
    fn place_until_it_fits(
        &mut self,
        schedule: &Schedule,
        phase: Phase,
        kind: PhaseKind,
    ) -> Result<(Placed, u64), CompileError> {
        let results: Vec<String> = schedule.results.iter().map(|id| schedule.values[*id].name.clone()).collect();
        self.add_constants(schedule);
        let mut reserved = self.persistent_bytes();
        loop {
            let mut placed = self.timed("place", |c| c.place(schedule, phase, kind, reserved))?;
            self.timed("lifetime", |_| passes::lifetime(&mut placed, &results));
            let chunks = chunks_of(&placed);
            let mut weights = self.plan.weights.clone();
            weights.extend(placed.weights.iter().filter(|w| self.plan.weight(&w.name).is_none()).cloned());
            let phase = self.plan_phase(kind, &placed, results.clone());
            let overflow = self.timed("lifetime", |c| c.overflow(&phase, &weights));
            if overflow == 0 || reserved > self.target.card.l1_bytes() {
                self.lm_head_chunks = self.lm_head_chunks.or(chunks);
                self.plan.weights = weights;
                self.plan.phases.push(phase);
                return Ok((placed, reserved));
            }
            reserved += overflow;
        }
    }

    fn place(&self, schedule: &Schedule, phase: Phase, kind: PhaseKind, reserved: u64) -> Result<Placed, CompileError> {
        let position = self.options.priced_at();
        let cx = Context { target: self.target, schedule, phase, position, everything: self.options.everything };
        passes::place(&cx, self.plan.model.layers, reserved).map_err(|error| CompileError::Place {
            phase: kind,
            card: self.target.card.name.clone(),
            error,
        })
    }

    /// The weights and buffers of a schedule that the plan does not have yet.
    fn add_constants(&mut self, schedule: &Schedule) {
        for weight in &schedule.weights {
            if self.plan.weight(&weight.name).is_none() {
                self.plan.weights.push(weight.clone());
            }
        }
        for buffer in &schedule.buffers {
            if self.plan.buffer(&buffer.name).is_none() {
                self.plan.buffers.push(buffer.clone());
            }
        }
    }

    /// L1 bytes per core of the constants that stay there.
    fn persistent_bytes(&self) -> u64 {
        let in_l1 = self.plan.weights.iter().filter(|w| w.spec.memory.memory() == Memory::L1);
        in_l1.map(|w| l1::buffer_bytes(&w.spec, &self.target.card)).sum()
    }

    /// Bytes by which the worst step of a phase overflows L1, once fragmentation is seen.
    fn overflow(&self, phase: &PlanPhase, weights: &[Weight]) -> u64 {
        let context = walk::Context { card: &self.plan.card, weights, buffers: &self.plan.buffers };
        let walk = walk::walk(context, phase);
        let capacity = self.target.card.l1_bytes();
        let worst = walk.steps.iter().map(|s| s.footprint.high_water()).max().unwrap_or(0).saturating_sub(capacity);
        let refused = walk.defects.iter().any(|d| d.invariant == Invariant::L1Capacity);
        // A tensor without an address has no size in the footprint: give way by a little and look again.
        if refused { worst.max(capacity / 64) } else { worst }
    }

    fn plan_phase(&self, kind: PhaseKind, placed: &Placed, results: Vec<String>) -> PlanPhase {
        let layers = u64::from(self.plan.model.layers);
        let bytes = |steps: &[bitnetc_plan::Step]| steps.iter().map(|s| s.cost.dram_bytes).sum::<u64>();
        let host = &self.target.cost;
        let host_us = match kind {
            PhaseKind::Prefill { .. } => 0.0,
            PhaseKind::Decode { .. } if placed.epilogue.iter().any(|s| matches!(s.op, bitnetc_plan::Op::ArgMax(_))) => {
                host.host_us
            }
            PhaseKind::Decode { .. } => host.host_sampling_us,
        };
        PlanPhase {
            kind,
            prologue: placed.prologue.clone(),
            layer: placed.layer.clone(),
            epilogue: placed.epilogue.clone(),
            results,
            trace: passes::trace(kind, &self.plan.buffers),
            cost: PhaseCost {
                device_us: placed.price.us(),
                host_us,
                dram_bytes: bytes(&placed.prologue) + layers * bytes(&placed.layer) + bytes(&placed.epilogue),
            },
        }
    }

    fn finish(mut self) -> Result<Compiled, CompileError> {
        self.timed("lifetime", |c| walk::settle(&mut c.plan)).map_err(CompileError::Plan)?;
        self.timed("verify", |c| verify(&c.plan).map(|_| ())).map_err(|defects| match defects.as_slice() {
            [one] if one.invariant == Invariant::DramCapacity => CompileError::Dram { what: one.what.clone() },
            _ => CompileError::Plan(defects),
        })?;
        Ok(Compiled { plan: self.plan, record: self.record, timings: self.timings })
    }
}

fn named(graph: &Graph, decisions: &HashMap<NodeId, Decision>) -> Vec<(String, Decision)> {
    let mut named: Vec<_> = decisions.iter().map(|(node, d)| (graph.node(*node).name.clone(), d.clone())).collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    named
}

fn chunks_of(placed: &Placed) -> Option<u32> {
    placed
        .record
        .iter()
        .find(|r| matches!(r.call.kind, Kind::LmHead { .. }))
        .map(|r| r.ways.candidates[r.chosen].chunks)
}
