//! What each known lever of a decode step is predicted to be worth, for one model, card and batch: one after another from the schedule of
//! the hand-written port to the plan ([`Stage`]), and each by itself from the plan ([`Lever`]).
//!
//! A lever that is an option of the compiler is compiled both ways and the two plans are compared ([`How::Compiled`]). One that the
//! compiler never leaves unused is priced call by call: the calls of the plan beside the calls that would stand in their place, by the
//! same cost functions ([`How::Priced`]). Where a figure rests on a measurement of something else it says so ([`How::Extrapolated`],
//! [`How::Measured`]), and where nothing was published the lever has no figure. By themselves levers overlap: their savings do not add
//! up; one after another they do.

mod built;
mod chain;
mod lm_head;
mod movement;
mod precision;
mod projections;
#[cfg(test)]
mod tests;

pub use chain::Stage;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use bitnetc_plan::op::Matmul;
use bitnetc_plan::{Bound, Cost, Op, PhaseKind, Plan, Ref, Step, TensorSpec};

use crate::calibration::host::{self, Port, Published};
use crate::calibration::{CalibrationError, Call, Rows, RowsError, Use};
use crate::graph::Role;
use crate::model::Model;
use crate::passes::Record;
use crate::policy::Policy;
use crate::pricer::Pricer;
use crate::target::Target;
use crate::ttnn::cost::data_bytes;
use crate::{CompileError, Compiled, Options, compile};
use bitnetc_plan::Proofs;
use built::Built;

/// How a lever's figures came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// Two plans.
    Compiled,
    /// Calls by the cost model.
    Priced,
    /// Calls by the cost model, with a constant from where it was measured, or with an assumption.
    Extrapolated(String),
    /// A published measurement, on the card named.
    Measured(String),
    /// Nothing: there is no figure.
    Unknown,
}

impl std::fmt::Display for How {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            How::Compiled => f.write_str("compiled"),
            How::Priced => f.write_str("priced"),
            How::Extrapolated(from) => f.write_str(from),
            How::Measured(card) => write!(f, "measured on {card}"),
            How::Unknown => f.write_str("-"),
        }
    }
}

/// One lever.
#[derive(Debug, Clone, PartialEq)]
pub struct Lever {
    /// Its name.
    pub name: String,
    /// What it is moved from, and to.
    pub positions: (String, String),
    /// Predicted microseconds a step of the two positions, or why there are none.
    pub us: Result<(f64, f64), String>,
    /// Where they come from.
    pub how: How,
    /// What a reader should know of the comparison.
    pub note: String,
}

impl Lever {
    /// Microseconds saved a step.
    pub fn saved_us(&self) -> Option<f64> {
        self.us.as_ref().ok().map(|(from, to)| from - to)
    }
}

/// A step of the plan and its share of the time.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    /// Its name.
    pub name: String,
    /// How often it runs.
    pub times: u32,
    /// Predicted cost of one run.
    pub cost: Cost,
}

impl Share {
    /// Predicted microseconds of all runs.
    pub fn us(&self) -> f64 {
        self.cost.us * f64::from(self.times)
    }

    /// What of that is not its bytes passing at the card's peak DRAM bandwidth.
    pub fn above_dram_us(&self, target: &Target) -> f64 {
        self.us() - f64::from(self.times) * self.cost.dram_bytes as f64 / (target.cost.dram_gb_per_s * 1000.0)
    }
}

/// A decode step of one policy and how far it is from the DRAM.
#[derive(Debug, Clone, PartialEq)]
pub struct Distance {
    /// The policy.
    pub policy: Policy,
    /// Predicted microseconds on the card and of host work, or why there is no plan.
    pub us: Result<(f64, f64), String>,
    /// Bytes of weights that a step reads.
    pub weight_bytes: u64,
    /// Microseconds those take at the card's peak bandwidth.
    pub floor_us: f64,
}

/// All that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Levers {
    /// By policy.
    pub distances: Vec<Distance>,
    /// One after another. The first stage is the schedule of the hand-written port, the last the plan.
    pub chain: Vec<Stage>,
    /// The measured port of this model on this card with as many users.
    pub port: Option<Port>,
    /// Each by itself, from the plan.
    pub levers: Vec<Lever>,
    /// In a prefill of [`BUCKET`] tokens: the last token's slice.
    pub prefill: Lever,
    /// Steps of the plan, those that lose most against the DRAM first.
    pub shares: Vec<Share>,
    /// Policy of that plan.
    pub policy: Policy,
    /// Position at which attention was priced.
    pub position: u32,
}

impl Levers {
    /// Microseconds a step of what the measured port takes beyond its schedule as priced: untraced dispatch, conversions, and whatever
    /// else is not known of it. A trace and a second queue can be worth no more than that.
    pub fn unexplained_us(&self) -> Option<f64> {
        let port = self.port.as_ref()?;
        // The port computes in HiFi2.
        let priced = self.chain.get(1)?.us.as_ref().ok()?;
        Some(1e6 / port.tokens_per_s - priced)
    }
}

/// Prefill bucket on which the last-token slice is priced.
pub const BUCKET: u32 = 128;

/// Why there is nothing to compare.
#[derive(Debug, thiserror::Error)]
pub enum LeversError {
    /// The model has no plan with these options: levers are moved from that plan.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// A data file that came along: a defect of bitnetc.
    #[error(transparent)]
    Published(#[from] RowsError),
}

/// Prices the levers of a model.
///
/// # Errors
/// When the model has no plan with these options.
pub fn levers(model: &Model, target: &Target, options: &Options) -> Result<Levers, LeversError> {
    let mut options = options.clone();
    options.prefill = Vec::new();
    let compiled = compile(model, target, &options)?;
    on_bench(model, target, &options, &compiled, |bench| {
        let distances = Policy::ALL.map(|policy| bench.distance(policy)).to_vec();
        let mut shares = bench.shares();
        shares.sort_by(|a, b| b.above_dram_us(target).total_cmp(&a.above_dram_us(target)));
        let port = bench
            .published
            .ports
            .iter()
            .find(|p| p.model == model.name && p.card == target.card.name && p.batch == options.batch)
            .cloned();
        Ok(Levers {
            distances,
            chain: bench.chain(),
            port,
            levers: bench.levers().map_err(CompileError::Policy)?,
            prefill: bench.last_token(),
            shares,
            policy: options.policy,
            position: options.priced_at(),
        })
    })
}

/// The first schedule of the chain in the precision that the options ask: interleaved throughout, token and copies by the host.
///
/// # Errors
/// When the model has no plan from which to take the calls, or a call is refused.
pub fn interleaved(
    model: &Model,
    target: &Target,
    options: &Options,
) -> Result<crate::calibration::Step, CalibrationError> {
    let mut options = options.clone();
    options.prefill = Vec::new();
    (options.proofs, options.folding) = (Proofs::None, false);
    let compiled = compile(model, target, &options).map_err(Box::new)?;
    let parts = on_bench(model, target, &options, &compiled, |bench| {
        bench.built(Built::default()).map_err(CalibrationError::Unpriced)
    })?;
    let (mut calls, mut host_us) = (Vec::new(), 0.0);
    for (name, us) in parts {
        if matches!(name, "token" | "host copies") {
            host_us += us;
        } else {
            let cost = Cost { us, dram_bytes: 0, fpu_cycles: 0, bound: Bound::Movement };
            calls.push(Call { name: name.into(), times: 1, cost });
        }
    }
    Ok(crate::calibration::Step { calls, host_us })
}

struct Bench<'a> {
    model: &'a Model,
    target: &'a Target,
    options: &'a Options,
    compiled: &'a Compiled,
    pricer: &'a Pricer<'a>,
    rows: &'a Rows,
    published: &'a Published,
    variants: &'a RefCell<HashMap<String, Result<Rc<Compiled>, String>>>,
}

/// Works with what prices the calls of a compiled model and its variants.
fn on_bench<T, E: From<RowsError>>(
    model: &Model,
    target: &Target,
    options: &Options,
    compiled: &Compiled,
    work: impl FnOnce(&Bench<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let (pricer, rows, published) = (Pricer::new(target, options.priced_at()), Rows::published()?, host::published()?);
    let variants = RefCell::default();
    work(&Bench { model, target, options, compiled, pricer: &pricer, rows: &rows, published, variants: &variants })
}

/// Predicted microseconds of decode on the card.
fn device_us(plan: &Plan) -> f64 {
    plan.decode().map_or(0.0, |p| p.cost.device_us)
}

impl Bench<'_> {
    /// The plan with other options, compiled once.
    fn variant(&self, change: impl FnOnce(&mut Options)) -> Result<Rc<Compiled>, String> {
        let mut options = self.options.clone();
        change(&mut options);
        let key = format!("{options:?}");
        if let Some(known) = self.variants.borrow().get(&key) {
            return known.clone();
        }
        let compiled = compile(self.model, self.target, &options).map(Rc::new).map_err(|e| e.to_string());
        self.variants.borrow_mut().insert(key, compiled.clone());
        compiled
    }

    fn distance(&self, policy: Policy) -> Distance {
        let variant = self.variant(|o| o.policy = policy);
        let weight_bytes = variant.as_ref().map_or(0, |c| weight_bytes(&c.plan));
        let us =
            variant.map(|c| c.plan.decode().map_or((0.0, 0.0), |p| (p.cost.device_us, p.cost.host_us.unwrap_or(0.0))));
        Distance { policy, us, weight_bytes, floor_us: weight_bytes as f64 / (self.target.cost.dram_gb_per_s * 1000.0) }
    }

    fn shares(&self) -> Vec<Share> {
        self.steps().map(|(times, step)| Share { name: step.name.clone(), times, cost: step.cost }).collect()
    }

    /// The steps of decode and how often each runs.
    fn steps(&self) -> impl Iterator<Item = (u32, &Step)> {
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

    fn levers(&self) -> Result<Vec<Lever>, crate::policy::PolicyError> {
        let mut levers = self.precision()?;
        levers.extend(self.interleaved_matmuls());
        levers.extend([self.norms(), self.chunks(), self.fused_qkv(), self.cache()]);
        levers.extend(self.host());
        Ok(levers)
    }

    /// Priced, unless the named constant was measured on another card only.
    fn rests_on(&self, constant: &str) -> How {
        match self.measured_on(constant) {
            Some(card) if *card != self.target.card.name => {
                How::Extrapolated(format!("extrapolated, {constant} was measured on {card}"))
            }
            _ => How::Priced,
        }
    }

    /// The card on which the named constant was measured: this one, if on this one.
    fn measured_on(&self, constant: &str) -> Option<&String> {
        let sets = |used: &Use| matches!(used, Use::Sets(what) if what.as_str() == constant);
        let cards: Vec<_> = self.rows.calls.iter().filter(|r| sets(&r.used)).map(|r| &r.target).collect();
        cards.iter().find(|card| ***card == self.target.card.name).or(cards.first()).copied()
    }

    /// How each call of decode was placed.
    fn records(&self) -> impl Iterator<Item = &Record> {
        let decode = self.compiled.record.iter().find(|r| matches!(r.kind, PhaseKind::Decode { .. }));
        decode.into_iter().flat_map(|r| r.placed.record.iter())
    }

    /// What the model calls the operation that a step belongs to.
    fn role(&self, step: &Step) -> Option<Role> {
        let of =
            |r: &&Record| r.ways.candidates.get(r.chosen).is_some_and(|c| c.drafts.iter().any(|d| d.name == step.name));
        self.records().find(of).map(|r| r.call.role)
    }

    /// The matmuls of the plan with their times, weights and arguments.
    fn matmuls(&self) -> impl Iterator<Item = (u32, &Step, &TensorSpec, &Matmul)> {
        self.steps().filter_map(|(times, step)| match &step.op {
            Op::Matmul(args) => match &args.b {
                Ref::Weight(name) => self.compiled.plan.weight(name).map(|w| (times, step, &w.spec, args)),
                _ => None,
            },
            _ => None,
        })
    }

    /// Those of the layers.
    fn projections(&self) -> impl Iterator<Item = (u32, &Step, &TensorSpec, &Matmul)> {
        self.matmuls().filter(|(_, step, ..)| self.role(step) != Some(Role::LmHead))
    }
}

/// Bytes of tiled weights that a decode step reads.
fn weight_bytes(plan: &Plan) -> u64 {
    let Some(phase) = plan.decode() else { return 0 };
    let read = |steps: &[Step], times: u64| -> u64 {
        let operands = steps.iter().filter_map(|s| match &s.op {
            Op::Matmul(args) => plan.weight(args.b.name()),
            _ => None,
        });
        operands.map(|w| times * data_bytes(&w.spec)).sum()
    };
    read(&phase.prologue, 1) + read(&phase.layer, u64::from(plan.model.layers)) + read(&phase.epilogue, 1)
}
