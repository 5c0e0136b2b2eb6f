//! What each known lever of a decode step is predicted to be worth, for one model, card and batch.
//!
//! A lever that is an option of the compiler is compiled both ways and the two plans are compared ([`How::Compiled`]). One that the
//! compiler never leaves unused is priced call by call: the calls of the plan beside the calls that would stand in their place, by the
//! same cost functions ([`How::Priced`]). Where only a published measurement knows, that is what stands there ([`How::Measured`]), and
//! where nothing does, the lever has no figure and says so. Levers overlap: their savings do not add up.

mod lm_head;
mod movement;
mod precision;
mod projections;

use bitnetc_plan::op::Matmul;
use bitnetc_plan::{Cost, Op, Plan, Ref, Step, TensorSpec};

use crate::model::Model;
use crate::policy::Policy;
use crate::pricer::Pricer;
use crate::target::Target;
use crate::ttnn::cost::data_bytes;
use crate::{CompileError, Compiled, Options, compile};

/// How a lever's figures came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Two plans.
    Compiled,
    /// Calls by the cost model.
    Priced,
    /// A published measurement, on the card named.
    Measured(&'static str),
}

impl std::fmt::Display for How {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            How::Compiled => f.write_str("compiled"),
            How::Priced => f.write_str("priced"),
            How::Measured(card) => write!(f, "measured on {card}"),
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
    /// The levers.
    pub levers: Vec<Lever>,
    /// Steps of the plan, those that lose most against the DRAM first.
    pub shares: Vec<Share>,
    /// Policy of that plan.
    pub policy: Policy,
}

/// Prefill bucket on which the last-token slice is priced.
pub const BUCKET: u32 = 128;

/// Prices the levers of a model.
///
/// # Errors
/// When the model has no plan with these options: levers are moved from that plan.
pub fn levers(model: &Model, target: &Target, options: &Options) -> Result<Levers, CompileError> {
    let mut options = options.clone();
    options.prefill = Vec::new();
    let compiled = compile(model, target, &options)?;
    let bench = Bench {
        model,
        target,
        options: &options,
        compiled: &compiled,
        pricer: Pricer::new(target, options.priced_at()),
    };
    let distances = Policy::ALL.map(|policy| bench.distance(policy)).to_vec();
    let mut shares = bench.shares();
    shares.sort_by(|a, b| b.above_dram_us(target).total_cmp(&a.above_dram_us(target)));
    Ok(Levers { distances, levers: bench.levers(), shares, policy: options.policy })
}

struct Bench<'a> {
    model: &'a Model,
    target: &'a Target,
    options: &'a Options,
    compiled: &'a Compiled,
    pricer: Pricer<'a>,
}

/// Predicted microseconds of decode on the card.
fn device_us(plan: &Plan) -> f64 {
    plan.decode().map_or(0.0, |p| p.cost.device_us)
}

impl Bench<'_> {
    fn variant(&self, change: impl FnOnce(&mut Options)) -> Result<Compiled, String> {
        let mut options = self.options.clone();
        change(&mut options);
        compile(self.model, self.target, &options).map_err(|e| e.to_string())
    }

    fn distance(&self, policy: Policy) -> Distance {
        let variant = self.variant(|o| o.policy = policy);
        let weight_bytes = variant.as_ref().map_or(0, |c| weight_bytes(&c.plan));
        let us = variant.map(|c| c.plan.decode().map_or((0.0, 0.0), |p| (p.cost.device_us, p.cost.host_us)));
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

    fn levers(&self) -> Vec<Lever> {
        let mut levers = self.precision();
        levers.extend(self.interleaved_matmuls());
        levers.extend([self.norms(), self.chunks(), self.last_token(), self.fused_qkv(), self.cache()]);
        levers.extend(self.host());
        levers
    }

    /// The matmuls of the plan with their times, weights and inputs' columns.
    fn matmuls(&self) -> Vec<(u32, &Step, &TensorSpec, &Matmul)> {
        let found = self.steps().filter_map(|(times, step)| match &step.op {
            Op::Matmul(args) => match &args.b {
                Ref::Weight(name) => self.compiled.plan.weight(name).map(|w| (times, step, &w.spec, args)),
                _ => None,
            },
            _ => None,
        });
        found.collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::find;

    fn of(batch: u32) -> Levers {
        let model = find("bitnet-2b-4t").unwrap().model().unwrap();
        let mut options = Options::for_model(&model);
        options.batch = batch;
        levers(&model, &Target::find("n150").unwrap(), &options).unwrap()
    }

    #[test]
    fn the_floor_is_the_published_one() {
        let fast = of(32).distances.into_iter().find(|d| d.policy == Policy::Fast).unwrap();
        assert!((fast.floor_us / 1000.0 - 5.28).abs() < 0.03, "{} us", fast.floor_us);
        assert!(fast.us.unwrap().0 > fast.floor_us);
    }

    #[test]
    fn every_lever_but_the_trace_has_a_figure_and_proofs_never_cost() {
        let found = of(1);
        for lever in &found.levers {
            assert_eq!(lever.us.is_err(), lever.name == "trace", "{lever:?}");
        }
        let proofs = found.levers.iter().find(|l| l.name == "precision by proof").unwrap();
        assert!(proofs.saved_us().unwrap() >= 0.0);
    }

    #[test]
    fn shares_add_up_to_the_step() {
        let found = of(1);
        let sum: f64 = found.shares.iter().map(Share::us).sum();
        let balanced = found.distances.iter().find(|d| d.policy == found.policy).unwrap();
        let device = balanced.us.as_ref().unwrap().0;
        assert!((sum - device).abs() < 1.0, "{sum} {device}");
    }
}
