//! The compiler: a model, a target and options in, a verified plan out.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bitnetc_plan::{
    Buffer, FORMAT_VERSION, Invariant, Memory, ModelInfo, Options as PlanOptions, Phase as PlanPhase, PhaseCost,
    PhaseKind, Plan, Weight, l1, verify, walk,
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
        phase(self.kind)
    }
}

/// A phase as graphs name it.
fn phase(kind: PhaseKind) -> Phase {
    match kind {
        PhaseKind::Decode { batch } => Phase::Decode { batch: batch as usize },
        PhaseKind::Prefill { tokens } => Phase::Prefill { seq: tokens as usize },
    }
}

/// What selection and placement of a phase are told on top of the options.
///
/// The search sums live tensors and does not see fragmentation; the walk over the allocator model does. What a step overflows by is
/// then reserved, and the search does without it. When a decode has no way at all, q and k give up cores of their own.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    /// Where decode keeps q and k.
    heads: HeadCores,
    /// L1 bytes per core that the search must leave alone besides the persistent tensors.
    overflow: u64,
}

impl Attempt {
    const FIRST: Attempt = Attempt { heads: HeadCores::Disjoint, overflow: 0 };
}

/// A placed phase and the constants of the plan with its own.
struct Draft {
    weights: Vec<Weight>,
    buffers: Vec<Buffer>,
    reserved: u64,
    placed: Placed,
}

/// A phase with its deallocations, and the L1 bytes per core by which it does not fit.
struct Made {
    draft: Draft,
    phase: PlanPhase,
    overflow: u64,
}

/// Compiles `model` for `target`.
///
/// # Errors
/// When an option is out of range, the model has no counterpart in TT-NN, or the card cannot hold it.
pub fn compile(model: &Model, target: &Target, options: &Options) -> Result<Compiled, CompileError> {
    options.validate(model)?;
    let mut compiler = Compiler::new(model, target, options);
    compiler.run_passes(PhaseKind::Decode { batch: options.batch })?;
    let mut buckets = options.prefill.clone();
    buckets.sort_unstable();
    buckets.dedup();
    for tokens in buckets {
        compiler.run_passes(PhaseKind::Prefill { tokens })?;
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
    fn new(model: &'a Model, target: &'a Target, options: &'a Options) -> Self {
        let mut overrides = model.precision.clone();
        overrides.extend(options.overrides.iter().cloned());
        let rows = model.statements.iter().filter_map(|s| match &s.op {
            Op::Embedding { weight } => weight.shape.first().copied(),
            _ => None,
        });
        let vocab = rows.min().unwrap_or(0);
        let plan = Plan {
            format: FORMAT_VERSION,
            model: ModelInfo {
                name: model.name.clone(),
                digest: model.digest.clone(),
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
            lm_head_chunks: None,
        }
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

    /// All passes over one phase, in the order of [`crate::passes`].
    ///
    /// From selection on they run again when what they made does not fit: see [`Attempt`].
    fn run_passes(&mut self, kind: PhaseKind) -> Result<(), CompileError> {
        let broken = |error| CompileError::Fuse { phase: kind, error };
        let mut graph = self.timed("graph", |c| c.model.to_graph(phase(kind), c.options.context as usize))?;
        self.timed("fuse", |_| passes::fuse(&mut graph)).map_err(broken)?;
        self.timed("activations", |c| passes::activations(&mut graph, c.options.policy)).map_err(broken)?;
        let folds = self.timed("scales", |c| passes::scales(&mut graph, c.options.folding)).map_err(broken)?;
        graph.check().map_err(|errors| CompileError::Graph { phase: kind, errors })?;
        let decisions =
            self.timed("precision", |c| passes::precision(&graph, c.options.policy, &c.overrides, c.options.proofs));
        let mut attempt = Attempt::FIRST;
        let (schedule, mut made) = loop {
            let schedule = self.timed("select", |c| c.select(&graph, &decisions, attempt, kind))?;
            let placed = self.timed("place", |c| c.place(&schedule, attempt, kind));
            let made = self.timed("lifetime", |c| placed.map(|placed| c.lifetime(&schedule, placed, kind)));
            match self.again(attempt, &made) {
                Some(next) => attempt = next,
                None => break (schedule, made?),
            }
        };
        made.phase.trace = self.timed("trace", |_| passes::trace(kind, &schedule.buffers));
        let precision = named(&graph, &decisions);
        let Draft { weights, buffers, reserved, placed } = made.draft;
        self.lm_head_chunks = self.lm_head_chunks.or(chunks_of(&placed));
        (self.plan.weights, self.plan.buffers) = (weights, buffers);
        self.plan.phases.push(made.phase);
        self.record.push(PhaseRecord { kind, precision, folds, schedule, reserved, placed });
        Ok(())
    }

    fn select(
        &self,
        graph: &Graph,
        decisions: &HashMap<NodeId, Decision>,
        attempt: Attempt,
        kind: PhaseKind,
    ) -> Result<Schedule, CompileError> {
        let setting = Setting {
            precision: decisions,
            cache: self.cache_dtype(graph, decisions),
            batch: self.options.batch,
            block: self.options.block,
            card: &self.target.card,
            lm_head_chunks: self.lm_head_chunks,
            heads: attempt.heads,
        };
        passes::select(graph, &setting).map_err(|error| CompileError::Select { phase: kind, error })
    }

    /// The KV cache has the data type attention was given.
    fn cache_dtype(&self, graph: &Graph, decisions: &HashMap<NodeId, Decision>) -> bitnetc_plan::DType {
        let attention = graph.nodes().find(|n| matches!(graph.node(*n).op, Op::Attention { .. }));
        attention.and_then(|n| decisions.get(&n)).map_or(self.options.policy.cache(), |d| d.used.weight)
    }

    fn place(&self, schedule: &Schedule, attempt: Attempt, kind: PhaseKind) -> Result<Draft, CompileError> {
        let clash = |name| CompileError::Select { phase: kind, error: SelectError::Clash { name } };
        let weights = joined(&self.plan.weights, &schedule.weights, |w| &w.name).map_err(clash)?;
        let buffers = joined(&self.plan.buffers, &schedule.buffers, |b| &b.name).map_err(clash)?;
        let reserved = self.persistent_bytes(&weights) + attempt.overflow;
        let position = self.options.priced_at();
        let everything = self.options.everything;
        let cx = Context { target: self.target, schedule, phase: phase(kind), position, everything };
        let card = self.target.card.name.clone();
        let placed = passes::place(&cx, self.plan.model.layers, reserved).map_err(|error| CompileError::Place {
            phase: kind,
            card,
            error,
        })?;
        let weights = joined(&weights, &placed.weights, |w| &w.name).map_err(clash)?;
        Ok(Draft { weights, buffers, reserved, placed })
    }

    fn lifetime(&self, schedule: &Schedule, mut draft: Draft, kind: PhaseKind) -> Made {
        let results: Vec<String> = schedule.results.iter().map(|id| schedule.values[*id].name.clone()).collect();
        passes::lifetime(&mut draft.placed, &results);
        let phase = self.plan_phase(kind, &draft.placed, results);
        let overflow = self.overflow(&phase, &draft.weights, &draft.buffers);
        Made { draft, phase, overflow }
    }

    /// What to try next: nothing when the phase fits, or when nothing is left to try.
    fn again(&self, attempt: Attempt, made: &Result<Made, CompileError>) -> Option<Attempt> {
        match made {
            Ok(made) if made.overflow == 0 || made.draft.reserved > self.target.card.l1_bytes() => None,
            Ok(made) => Some(Attempt { overflow: attempt.overflow + made.overflow, ..attempt }),
            Err(CompileError::Place { phase: PhaseKind::Decode { .. }, error: PlaceError::NoWay { .. }, .. }) => {
                (attempt.heads == HeadCores::Disjoint).then_some(Attempt { heads: HeadCores::Shared, overflow: 0 })
            }
            Err(_) => None,
        }
    }

    /// L1 bytes per core of the constants that stay there.
    fn persistent_bytes(&self, weights: &[Weight]) -> u64 {
        let in_l1 = weights.iter().filter(|w| w.spec.memory.memory() == Memory::L1);
        in_l1.map(|w| l1::buffer_bytes(&w.spec, &self.target.card)).sum()
    }

    /// Bytes by which the worst step of a phase overflows L1, once fragmentation is seen.
    fn overflow(&self, phase: &PlanPhase, weights: &[Weight], buffers: &[Buffer]) -> u64 {
        let context = walk::Context { card: &self.plan.card, weights, buffers };
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
            PhaseKind::Prefill { .. } => None,
            PhaseKind::Decode { .. } if placed.epilogue.iter().any(|s| matches!(s.op, bitnetc_plan::Op::ArgMax(_))) => {
                Some(host.host_us)
            }
            PhaseKind::Decode { .. } => Some(host.host_sampling_us),
        };
        PlanPhase {
            kind,
            prologue: placed.prologue.clone(),
            layer: placed.layer.clone(),
            epilogue: placed.epilogue.clone(),
            results,
            trace: None,
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

/// All of `known` and those of `new` that it does not have; the name of one it has otherwise.
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

fn chunks_of(placed: &Placed) -> Option<u32> {
    placed
        .record
        .iter()
        .find(|r| matches!(r.call.kind, Kind::LmHead { .. }))
        .map(|r| r.ways.candidates[r.chosen].chunks)
}
