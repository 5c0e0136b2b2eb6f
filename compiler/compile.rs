//! The driver of the compiler: it takes a model, a target and options, runs the passes of [`crate::passes`] over each phase, and returns a
//! verified plan.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use bitnetc_plan::function::Function;
use bitnetc_plan::op::Role;
use bitnetc_plan::{
    Buffer, Defect, FORMAT_VERSION, Invariant, ModelInfo, Options as PlanOptions, Phase as PlanPhase, PhaseCost,
    PhaseKind, Place, Plan, VerifiedPlan, Weight, walk,
};

use crate::graph::{Graph, NodeId, Operation};
use crate::model::Model;
use crate::passes::precision::Decision;
use crate::passes::{self, Fold, Placed, Record, Reserve, SelectError, Setting};
use crate::policy::Override;
use crate::predict::{Launches, by_position, round};
use crate::schedule::{HeadCores, Kind, Schedule};
use crate::target::Target;
use crate::ttnn::Context;
use crate::ttnn::lm_head::MOST_CHUNKS;
use crate::{CompileError, Options, prove};

/// A plan, with a record of the choices that led to it.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The plan.
    pub plan: VerifiedPlan,
    /// Per phase, in the plan's order: every call with what was considered for it.
    pub record: Vec<PhaseRecord>,
    /// Wall time by pass, all phases together.
    pub timings: Vec<(&'static str, Duration)>,
    /// Why kernels of bitnetc's own were left out although the options allow them: what DRAM has no room for with their weights.
    pub declined: Option<String>,
}

/// The choices that led to one phase of a plan.
#[derive(Debug, Clone)]
pub struct PhaseRecord {
    /// The phase.
    pub kind: PhaseKind,
    /// The precision asked for, the one used and its proof, by the name of the graph node.
    pub precision: Vec<(String, Decision)>,
    /// The weight scales that were moved, and the nodes that took them.
    pub folds: Vec<Fold>,
    /// The calls before they were placed.
    pub schedule: Schedule,
    /// Bytes of L1 per core that the placement left free for persistent tensors and for fragmentation.
    pub reserved: u64,
    /// The candidates of each call, and the one chosen.
    pub placed: Placed,
}

/// A phase after the passes over its graph: the fused graph, and the precision decided for its nodes.
struct FusedPhase<'a> {
    graph: &'a Graph,
    decisions: &'a HashMap<NodeId, Decision>,
    kind: PhaseKind,
}

/// A phase with one choice of [`HeadCores`] placed, and the weights and buffers that the plan would have with it.
struct Attempt {
    schedule: Schedule,
    placed: Placed,
    reserved: u64,
    phase: PlanPhase,
    weights: Vec<Weight>,
    buffers: Vec<Buffer>,
}

/// Compiles `model` for `target`: the decode phase for the batch of `options`, and a prefill phase for each of its buckets.
///
/// ```
/// use bitnetc_compiler::target::Target;
/// use bitnetc_compiler::{Options, compile, model};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let model = model::find("tiny-shakespeare").ok_or("not shipped")?.model()?;
/// let target = Target::find("n150")?;
/// let options = Options { prefill: vec![32], ..Options::for_model(&model) };
/// let compiled = compile(&model, &target, &options)?;
/// assert_eq!(compiled.plan.phases.len(), 2);
/// assert!(compiled.plan.phases[0].cost.device_us > 0.0);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When an option is out of range, the model has no counterpart in TT-NN, or the card cannot hold it; [`crate::fits()`] then finds what it
/// can hold.
pub fn compile(model: &Model, target: &Target, options: &Options) -> Result<Compiled, CompileError> {
    options.validate(model)?;
    // Where prefill reads the same weights by TT-NN's matmuls, those of bitnetc's own kernels are a second copy. A plan goes without them
    // where DRAM has no room for both.
    match compile_with(model, target, options, options.own_kernels) {
        Err(CompileError::Dram { what }) if options.own_kernels => {
            let compiled = compile_with(model, target, options, false)?;
            Ok(Compiled { declined: Some(what), ..compiled })
        }
        compiled => compiled,
    }
}

fn compile_with(
    model: &Model,
    target: &Target,
    options: &Options,
    own_kernels: bool,
) -> Result<Compiled, CompileError> {
    let mut first = None;
    let mut chunks = 1..=MOST_CHUNKS;
    loop {
        let mut compiler = Compiler::new(model, target, options, own_kernels, chunks.clone());
        // All phases read the same chunks of the LM head. Where those of decode are too long for a prefill, decode takes shorter ones.
        let error = match compiler.run_phases() {
            Ok(()) => {
                compiler.settle()?;
                let (least, taken) = (*chunks.start(), *compiler.lm_head_chunks.end());
                match compiler.finish() {
                    // Tensors fit DRAM, but not with the kernels and commands of all programs. Fewer chunks have fewer programs.
                    Err(error @ CompileError::Dram { .. }) if least < taken => {
                        chunks = least..=taken - 1;
                        error
                    }
                    finished => return finished,
                }
            }
            Err(error) => {
                let longer = compiler.chunks_refused_by(&error).filter(|refused| refused < chunks.end());
                let Some(refused) = longer else { return Err(first.unwrap_or(error)) };
                chunks = refused + 1..=*chunks.end();
                error
            }
        };
        first.get_or_insert(error);
    }
}

/// The state of a compilation: its inputs, the plan as far as it is made, and the record of how.
struct Compiler<'a> {
    model: &'a Model,
    target: &'a Target,
    options: &'a Options,
    overrides: Vec<Override>,
    plan: Plan,
    record: Vec<PhaseRecord>,
    timings: Vec<(&'static str, Duration)>,
    /// The numbers of chunks that the LM head may be cut into: one, as soon as decode has decided.
    lm_head_chunks: RangeInclusive<u32>,
    /// Whether kernels of bitnetc's own come into question.
    own_kernels: bool,
}

impl<'a> Compiler<'a> {
    fn new(
        model: &'a Model,
        target: &'a Target,
        options: &'a Options,
        own_kernels: bool,
        lm_head_chunks: RangeInclusive<u32>,
    ) -> Self {
        let mut overrides = model.precision.clone();
        overrides.extend(options.overrides.iter().cloned());
        let rows = model.statements.iter().filter_map(|s| {
            let Operation::Embedding { weight } = &s.op else { return None };
            weight.shape.first().copied()
        });
        let vocab = rows.min().unwrap_or(0);
        let plan = Plan {
            format: FORMAT_VERSION,
            release: target.release.to_string(),
            model: ModelInfo {
                name: model.name.clone(),
                digest: String::new(),
                function: String::new(),
                layers: model.layers as u32,
                vocab: vocab as u32,
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
                sample: options.sample,
                own_kernels: options.own_kernels,
            },
            card: target.card.clone(),
            weights: Vec::new(),
            buffers: Vec::new(),
            phases: Vec::new(),
        };
        Compiler {
            model,
            target,
            options,
            overrides,
            plan,
            record: Vec::new(),
            timings: Vec::new(),
            lm_head_chunks,
            own_kernels,
        }
    }

    /// Decode, then prefill by growing bucket.
    fn run_phases(&mut self) -> Result<(), CompileError> {
        self.run_passes(PhaseKind::Decode { batch: self.options.batch })?;
        let mut buckets = self.options.prefill.clone();
        buckets.sort_unstable();
        buckets.dedup();
        buckets.into_iter().try_for_each(|tokens| self.run_passes(PhaseKind::Prefill { tokens }))
    }

    /// The number of chunks into which decode cut the LM head, when `error` is that a prefill cannot run an LM head cut so.
    fn chunks_refused_by(&self, error: &CompileError) -> Option<u32> {
        let CompileError::Place { error, .. } = error else { return None };
        let head = self.record.first().and_then(|decode| lm_head(&decode.placed))?;
        (error.call() == head.call.name).then(|| head.ways.candidates[head.chosen].chunks)
    }

    /// Runs a pass and adds its wall time to the timings.
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

    /// Runs all passes over one phase, in the order of [`crate::passes`], and adds the phase to the plan.
    fn run_passes(&mut self, kind: PhaseKind) -> Result<(), CompileError> {
        let broken = |error| CompileError::Fuse { phase: kind, error };
        let mut graph = self.timed("graph", |c| c.model.to_graph(kind, c.options.context as usize))?;
        self.timed("fuse", |_| passes::fuse(&mut graph)).map_err(broken)?;
        self.timed("activations", |c| passes::activations(&mut graph, c.options.policy)).map_err(broken)?;
        let folds = self.timed("scales", |c| passes::scales(&mut graph, c.options.folding)).map_err(broken)?;
        graph.check().map_err(|errors| CompileError::Graph { phase: kind, errors })?;
        let decisions = self.timed("precision", |c| {
            passes::precision(&graph, c.options.policy, &c.overrides, c.options.proofs, c.target.release)
        });
        let mut best = self.select_place_lifetime(&FusedPhase { graph: &graph, decisions: &decisions, kind })?;
        best.phase.trace = Some(self.timed("trace", |_| passes::trace(kind, &best.buffers)));
        let precision = named(&graph, &decisions);
        let Attempt { schedule, placed, reserved, phase, weights, buffers } = best;
        if let Some(head) = lm_head(&placed) {
            let chunks = head.ways.candidates[head.chosen].chunks;
            self.lm_head_chunks = chunks..=chunks;
        }
        (self.plan.weights, self.plan.buffers) = (weights, buffers);
        self.plan.phases.push(phase);
        self.record.push(PhaseRecord { kind, precision, folds, schedule, reserved, placed });
        Ok(())
    }

    /// Runs the passes from selection on, with gate and up apart and, where kernels of bitnetc's own allow it, in one program. The faster
    /// schedule is kept.
    fn select_place_lifetime(&mut self, fused: &FusedPhase<'_>) -> Result<Attempt, CompileError> {
        let apart = self.on_fastest_cores(fused, false)?;
        let together = self.select(fused, HeadCores::Disjoint, true)?;
        if !together.layer.iter().any(|call| matches!(call.kind, Kind::Gated { .. })) {
            return Ok(apart);
        }
        match self.on_fastest_cores(fused, true) {
            Ok(together) if together.placed.price < apart.placed.price => Ok(together),
            Ok(_) | Err(_) => Ok(apart),
        }
    }

    /// Runs the passes from selection on. In decode they are run with q and k on disjoint cores and on the same cores, and the faster
    /// schedule is kept, or the only one that can be had.
    fn on_fastest_cores(&mut self, fused: &FusedPhase<'_>, gated: bool) -> Result<Attempt, CompileError> {
        let disjoint = self.attempt(fused, HeadCores::Disjoint, gated);
        if matches!(fused.kind, PhaseKind::Prefill { .. }) {
            return disjoint;
        }
        let disjoint = match disjoint {
            Err(CompileError::Place { .. }) => return self.attempt(fused, HeadCores::Shared, gated),
            other => other?,
        };
        let schedule = self.select(fused, HeadCores::Shared, gated)?;
        let cx = self.context(&schedule, fused.kind);
        // On disjoint cores q and k share calls. Those mostly win by so much that a lower bound of the other schedule shows it without a
        // search.
        let least = passes::least(&cx, self.plan.model.layers, &disjoint.placed.record);
        if least.is_none_or(|least| least >= disjoint.placed.price) {
            return Ok(disjoint);
        }
        match self.attempt(fused, HeadCores::Shared, gated) {
            Ok(shared) if shared.placed.price < disjoint.placed.price => Ok(shared),
            Ok(_) | Err(_) => Ok(disjoint),
        }
    }

    /// Runs the passes from selection on with q and k of decode on the given cores. While fragmentation makes the result overflow L1, it is
    /// placed again with a larger reserve, see [`passes::Reserve`]. The plan is not changed.
    fn attempt(&mut self, fused: &FusedPhase<'_>, heads: HeadCores, gated: bool) -> Result<Attempt, CompileError> {
        let clash = |name| CompileError::Select { phase: fused.kind, error: SelectError::Clash { name } };
        let schedule = self.timed("select", |c| c.select(fused, heads, gated))?;
        let constants = joined(&self.plan.weights, &schedule.weights, |w| &w.name).map_err(clash)?;
        let buffers = joined(&self.plan.buffers, &schedule.buffers, |b| &b.name).map_err(clash)?;
        let card = &self.target.card;
        let mut reserve = Reserve::new(&constants, card);
        loop {
            let mut placed = self.timed("place", |c| c.place(&schedule, fused, reserve.bytes()))?;
            let read: Vec<Weight> = schedule.weights.iter().filter(|w| placed.reads(w)).cloned().collect();
            let weights = joined(&self.plan.weights, &read, |w| &w.name).map_err(clash)?;
            let weights = joined(&weights, &placed.weights, |w| &w.name).map_err(clash)?;
            let buffers = joined(&buffers, &placed.buffers, |b| &b.name).map_err(clash)?;
            let layers = self.plan.model.layers;
            let context = walk::Context { card, weights: &weights, buffers: &buffers, layers };
            let (phase, fits) = self.timed("lifetime", |c| {
                let phase = c.lifetime(&schedule, &mut placed, fused.kind);
                let fits = reserve.suffices(context, &phase);
                (phase, fits)
            });
            if fits {
                return Ok(Attempt { schedule, placed, reserved: reserve.bytes(), phase, weights, buffers });
            }
        }
    }

    fn select(&self, fused: &FusedPhase<'_>, heads: HeadCores, gated: bool) -> Result<Schedule, CompileError> {
        let setting = Setting {
            precision: fused.decisions,
            cache: self.cache_dtype(fused.graph, fused.decisions),
            batch: self.options.batch,
            block: self.options.block,
            longest_prefill: self.options.prefill.iter().copied().max().unwrap_or(0),
            card: &self.target.card,
            lm_head_chunks: self.lm_head_chunks.clone(),
            heads,
            sample: self.options.sample,
            own_kernels: self.own_kernels,
            gated,
        };
        passes::select(fused.graph, &setting).map_err(|error| CompileError::Select { phase: fused.kind, error })
    }

    /// The data type of the KV cache, which is the one decided for attention.
    fn cache_dtype(&self, graph: &Graph, decisions: &HashMap<NodeId, Decision>) -> bitnetc_plan::DType {
        let attention = graph.nodes().find(|n| matches!(graph.node(*n).op, Operation::Attention { .. }));
        attention.and_then(|n| decisions.get(&n)).map_or(self.options.policy.cache(), |d| d.used.weight)
    }

    fn context<'s>(&'s self, schedule: &'s Schedule, kind: PhaseKind) -> Context<'s> {
        let (position, everything) = (self.options.priced_at(), self.options.everything);
        Context { target: self.target, schedule, phase: kind, position, everything }
    }

    fn place(&self, schedule: &Schedule, fused: &FusedPhase<'_>, reserved: u64) -> Result<Placed, CompileError> {
        let cx = self.context(schedule, fused.kind);
        passes::place(&cx, self.plan.model.layers, reserved).map_err(|error| CompileError::Place {
            phase: fused.kind,
            card: self.target.card.name.clone(),
            error,
        })
    }

    fn lifetime(&self, schedule: &Schedule, placed: &mut Placed, kind: PhaseKind) -> PlanPhase {
        let results: Vec<String> = schedule.results.iter().map(|id| schedule.values[*id].name.clone()).collect();
        passes::lifetime(placed, &results);
        self.plan_phase(kind, placed, results)
    }

    fn plan_phase(&self, kind: PhaseKind, placed: &Placed, results: Vec<String>) -> PlanPhase {
        let layers = u64::from(self.plan.model.layers);
        let bytes = |steps: &[bitnetc_plan::Step]| steps.iter().map(|s| s.cost.dram_bytes).sum::<u64>();
        let host = &self.target.cost.host;
        let host_us = match kind {
            PhaseKind::Prefill { .. } => None,
            PhaseKind::Decode { .. }
                if placed.epilogue.iter().any(|step| step.op.operand(Role::NextToken).is_some()) =>
            {
                Some(host.replay_us)
            }
            PhaseKind::Decode { batch } => Some(host.sampled_us(batch, self.plan.model.vocab)),
        };
        PlanPhase {
            kind,
            prologue: placed.prologue.clone(),
            layer: placed.layer.clone(),
            epilogue: placed.epilogue.clone(),
            results,
            trace: None,
            cost: PhaseCost {
                host_us,
                dram_bytes: bytes(&placed.prologue) + layers * bytes(&placed.layer) + bytes(&placed.epilogue),
                ..PhaseCost::default()
            },
        }
    }

    /// Predicts the time of each phase.
    fn predict(&mut self) {
        let (target, options) = (self.target, self.options);
        let context = walk::Context::from(&self.plan);
        let costs: Vec<PhaseCost> = self
            .plan
            .phases
            .iter()
            .map(|phase| {
                let launches = Launches::of(context, phase);
                let found = launches.predict(target, options.priced_at());
                PhaseCost {
                    device_us: round(found.us),
                    band_us: (round(found.band_us.0), round(found.band_us.1)),
                    waits_us: round(found.waits_us),
                    positions: by_position(&launches, phase.kind, target, options.context),
                    ..phase.cost.clone()
                }
            })
            .collect();
        for (phase, cost) in self.plan.phases.iter_mut().zip(costs) {
            phase.cost = cost;
        }
    }

    /// Records the function of the model, by which verification tells that every phase computes it.
    fn record_function(&mut self) -> Result<Function, CompileError> {
        let function = self.model.function(self.options.context as usize, self.options.policy)?;
        self.plan.model.function = function.digest(self.plan.model.layers);
        self.plan.model.digest = self.model.digest()?;
        Ok(function)
    }

    /// The plan, which keeps every invariant. Where it is another function that is wrong, the model tells the step.
    fn verified(&mut self, function: &Function) -> Result<VerifiedPlan, CompileError> {
        VerifiedPlan::new(self.plan.clone()).map_err(|defects| {
            let differ = prove::functions(&self.plan, function);
            unfit(if differ.is_empty() { defects } else { differ })
        })
    }

    /// Gives every tensor its address.
    fn settle(&mut self) -> Result<(), CompileError> {
        self.timed("lifetime", |c| walk::settle(&mut c.plan)).map_err(unfit)
    }

    fn finish(mut self) -> Result<Compiled, CompileError> {
        self.timed("predict", Self::predict);
        let function = self.timed("function", Self::record_function)?;
        let plan = self.timed("verify", |c| c.verified(&function))?;
        let defects = self.timed("prove", |c| prove::precisions(&c.plan, c.model, c.options.policy));
        if !defects.is_empty() {
            return Err(CompileError::Plan(defects));
        }
        Ok(Compiled { plan, record: self.record, timings: self.timings, declined: None })
    }
}

/// The error of a plan that does not hold: it does not fit DRAM, or it is a defect of bitnetc.
fn unfit(defects: Vec<Defect>) -> CompileError {
    match defects.first() {
        Some(first) if defects.iter().all(|d| d.invariant == Invariant::DramCapacity) => {
            let what = if first.place == Place::Plan { first.what.clone() } else { first.to_string() };
            CompileError::Dram { what }
        }
        Some(_) | None => CompileError::Plan(defects),
    }
}

/// All items of `known`, and the items of `new` that are not among them. The error is the name of an item that both have with different
/// contents.
fn joined<T: Clone + PartialEq>(known: &[T], new: &[T], name: impl Fn(&T) -> &String) -> Result<Vec<T>, String> {
    let mut all = known.to_vec();
    for item in new {
        match all.iter().find(|other| name(other) == name(item)) {
            Some(other) if other != item => return Err(name(item).clone()),
            Some(_) => {}
            None => all.push(item.clone()),
        }
    }
    Ok(all)
}

fn named(graph: &Graph, decisions: &HashMap<NodeId, Decision>) -> Vec<(String, Decision)> {
    let mut named: Vec<_> = decisions.iter().map(|(node, d)| (graph.node(*node).name.clone(), d.clone())).collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    named
}

fn lm_head(placed: &Placed) -> Option<&Record> {
    placed.record.iter().find(|r| matches!(r.call.kind, Kind::LmHead { .. }))
}
