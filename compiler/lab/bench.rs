//! A compiled decode step, with the means to price other schedules of the same model beside it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use bitnetc_compiler::graph::Role;
use bitnetc_compiler::model::Model;
use bitnetc_compiler::passes::Record;
use bitnetc_compiler::predict::Launches;
use bitnetc_compiler::pricer::Pricer;
use bitnetc_compiler::schedule::Kind;
use bitnetc_compiler::target::Target;
use bitnetc_compiler::ttnn::Candidate;
use bitnetc_compiler::ttnn::cost::Machine;
use bitnetc_compiler::{Compiled, Options, PhaseRecord, compile};
use bitnetc_plan::op::Matmul;
use bitnetc_plan::ttnn::check;
use bitnetc_plan::walk::Context;
use bitnetc_plan::{Op, PhaseKind, Plan, Ref, Step, TensorSpec};

use crate::host::{Published, published};
use crate::rows::{Rows, RowsError};

/// A plan, the published figures, and a pricer for single calls on the plan's card.
pub struct Bench<'a> {
    pub model: &'a Model,
    pub target: &'a Target,
    pub options: Options,
    /// The plan from which all comparisons start.
    pub compiled: Rc<Compiled>,
    pub pricer: Pricer<'a>,
    pub rows: Rows,
    pub published: &'static Published,
    /// The plans compiled with other options, so that each is compiled once.
    variants: RefCell<HashMap<String, Result<Rc<Variant>, String>>>,
    /// Microseconds of each step of decode, by name, where the constants are not those that the plan was priced with.
    repriced: HashMap<String, f64>,
}

/// A plan compiled with other options, and the calls of its decode step ready to be priced.
pub struct Variant {
    pub compiled: Compiled,
    launches: Option<Launches>,
}

impl<'a> Bench<'a> {
    /// A bench for `compiled`, which is the plan of `model` on `target` with `options`.
    pub fn new(model: &'a Model, target: &'a Target, options: Options, compiled: Compiled) -> Result<Self, RowsError> {
        let pricer = Pricer::new(target, options.priced_at());
        let (rows, published) = (Rows::published()?, published()?);
        let (compiled, variants, repriced) = (Rc::new(compiled), RefCell::default(), HashMap::new());
        Ok(Bench { model, target, options, compiled, pricer, rows, published, variants, repriced })
    }

    /// The same plans with other constants of the cost model: the card of `target` is the same.
    pub fn priced_by<'b>(&'b self, target: &'b Target) -> Bench<'b> {
        let pricer = Pricer::new(target, self.options.priced_at());
        let mut specs: HashMap<Ref, &TensorSpec> = HashMap::new();
        let plan = &self.compiled.plan;
        specs.extend(plan.weights.iter().map(|w| (Ref::Weight(w.name.clone()), &w.spec)));
        specs.extend(plan.buffers.iter().map(|b| (Ref::Buffer(b.name.clone()), &b.spec)));
        let values = self.steps().flat_map(|(_, step)| &step.outputs);
        specs.extend(values.map(|v| (Ref::Value(v.name.clone()), &v.spec)));
        let repriced = self.steps().filter_map(|(_, step)| {
            let us = price(&pricer, &step.op, |operand| specs.get(operand).copied())?;
            Some((step.name.clone(), us))
        });
        Bench {
            model: self.model,
            target,
            options: self.options.clone(),
            compiled: Rc::clone(&self.compiled),
            repriced: repriced.collect(),
            pricer,
            rows: self.rows.clone(),
            published: self.published,
            variants: self.variants.clone(),
        }
    }

    /// Predicted microseconds of a step of decode.
    pub fn us(&self, step: &Step) -> f64 {
        self.repriced.get(&step.name).copied().unwrap_or(step.cost.us)
    }

    /// Predicted microseconds of a variant's decode step on the card.
    pub fn device_us(&self, variant: &Variant) -> f64 {
        let position = self.options.priced_at();
        let machine = Machine { card: &self.target.card, cost: &self.target.cost, position };
        variant.launches.as_ref().map_or(0.0, |launches| launches.time(machine).0)
    }

    /// Predicted microseconds of a way of a call.
    pub fn way_us(&self, phase: &PhaseRecord, record: &Record, way: &Candidate) -> f64 {
        let inputs = record.call.values().zip(&way.requires).map(|(id, memory)| {
            let value = &phase.schedule.values[id];
            let (shape, dtype, layout) = (value.shape.clone(), value.dtype, value.layout);
            (Ref::Value(value.name.clone()), TensorSpec { shape, dtype, layout, memory: memory.clone() })
        });
        let weights = way.weights.iter().map(|w| (Ref::Weight(w.name.clone()), w.spec.clone()));
        let made = way.drafts.iter().flat_map(|draft| &draft.outputs);
        let made = made.map(|(name, spec)| (Ref::Value(name.clone()), spec.clone()));
        let specs: HashMap<Ref, TensorSpec> = inputs.chain(weights).chain(made).collect();
        let us = |op| price(&self.pricer, op, |operand| specs.get(operand));
        way.drafts.iter().map(|draft| us(&draft.op).unwrap_or(draft.cost.us)).sum()
    }

    /// The plan with other options, compiled once.
    pub fn variant(&self, change: impl FnOnce(&mut Options)) -> Result<Rc<Variant>, String> {
        let mut options = self.options.clone();
        change(&mut options);
        let key = format!("{options:?}");
        if let Some(known) = self.variants.borrow().get(&key) {
            return known.clone();
        }
        let variant = compile(self.model, self.target, &options).map_err(|e| e.to_string()).map(|compiled| {
            let plan: &Plan = &compiled.plan;
            let launches = plan.decode().map(|phase| Launches::of(Context::from(plan), phase));
            Rc::new(Variant { compiled, launches })
        });
        self.variants.borrow_mut().insert(key, variant.clone());
        variant
    }

    /// The steps of decode and how often each runs.
    pub fn steps(&self) -> impl Iterator<Item = (u32, &Step)> {
        let layers = self.compiled.plan.model.layers;
        self.compiled.plan.decode().into_iter().flat_map(move |p| {
            let once = |s| (1, s);
            p.prologue
                .iter()
                .map(once)
                .chain(p.layer.iter().map(move |s| (layers, s)))
                .chain(p.epilogue.iter().map(once))
        })
    }

    /// Predicted microseconds of the steps that `take` accepts.
    pub fn sum_us(&self, take: impl Fn(&Step) -> bool) -> f64 {
        self.steps().filter(|(_, s)| take(s)).map(|(times, s)| f64::from(times) * self.us(s)).sum()
    }

    /// The record of decode.
    pub fn decode(&self) -> Option<&PhaseRecord> {
        self.compiled.record.iter().find(|r| matches!(r.kind, PhaseKind::Decode { .. }))
    }

    /// How each call of decode was placed.
    fn records(&self) -> impl Iterator<Item = &Record> {
        self.decode().into_iter().flat_map(|r| r.placed.record.iter())
    }

    /// The role of the model's operation that a step belongs to.
    pub fn role(&self, step: &Step) -> Option<Role> {
        let of =
            |r: &&Record| r.ways.candidates.get(r.chosen).is_some_and(|c| c.drafts.iter().any(|d| d.name == step.name));
        self.records().find(of).map(|r| r.call.role)
    }

    /// The matmuls of the plan with their times, weights and arguments.
    pub fn matmuls(&self) -> impl Iterator<Item = (u32, &Step, &TensorSpec, &Matmul)> {
        self.steps().filter_map(|(times, step)| {
            let Op::Matmul(args) = &step.op else { return None };
            let Ref::Weight(name) = &args.b else { return None };
            self.compiled.plan.weight(name).map(|w| (times, step, &w.spec, args))
        })
    }

    /// The matmuls of the layers.
    pub fn projections(&self) -> impl Iterator<Item = (u32, &Step, &TensorSpec, &Matmul)> {
        self.matmuls().filter(|(_, step, ..)| self.role(step) != Some(Role::LmHead))
    }

    /// Tiles of columns of q, k and v in the fused projection `fused`.
    pub fn heads_of_qkv(&self, fused: &TensorSpec) -> Result<Vec<u32>, String> {
        let split = self.steps().find_map(|(_, s)| {
            let Op::CreateHeadsDecode(args) = &s.op else { return None };
            Some((args.heads, args.kv_heads))
        });
        let (heads, kv_heads) = split.ok_or("no head split")?;
        let per_head = fused.tile_columns() as u32 / (heads + 2 * kv_heads).max(1);
        Ok([heads, kv_heads, kv_heads].map(|h| h * per_head).to_vec())
    }

    /// Predicted microseconds of picking the token of the logits.
    pub fn token_us(&self) -> f64 {
        let call = self.records().find(|r| matches!(r.call.kind, Kind::ArgMax));
        let drafts = call.and_then(|r| r.ways.candidates.get(r.chosen)).map_or(&[][..], |way| &way.drafts);
        self.sum_us(|step| drafts.iter().any(|draft| draft.name == step.name))
    }

    /// All ways of the LM head in decode.
    pub fn head_ways(&self) -> Option<&Record> {
        self.records().find(|r| matches!(r.call.kind, Kind::LmHead { .. }))
    }

    /// The chosen way of the LM head.
    pub fn head(&self) -> Option<&Candidate> {
        self.head_ways().and_then(|r| r.ways.candidates.get(r.chosen))
    }

    /// The cheapest way of the LM head among those with the most chunks.
    pub fn most_chunks(&self) -> Option<&Candidate> {
        let candidates = &self.head_ways()?.ways.candidates;
        let most = candidates.iter().map(|c| c.chunks).max()?;
        candidates.iter().filter(|c| c.chunks == most).min_by_key(|c| c.price)
    }
}

/// Predicted microseconds of a call whose operands are known and that TT-NN accepts.
fn price<'s>(pricer: &Pricer<'_>, op: &Op, spec: impl Fn(&Ref) -> Option<&'s TensorSpec>) -> Option<f64> {
    let operands: Vec<&TensorSpec> = op.operands().into_iter().map(spec).collect::<Option<_>>()?;
    let outcome = check(op, &operands, &pricer.target().card).ok()?;
    Some(pricer.answered(op, &operands, &outcome).us)
}

/// Whether a step writes keys or values into their cache.
pub fn is_cache(step: &Step) -> bool {
    matches!(step.op, Op::CacheUpdate(_) | Op::CacheUpdateOne(_))
}
