//! The predicted worth of single choices in a decode step, for one model, card and batch.
//!
//! A lever is one choice of the compiler, moved from its worse position to the one in the plan. If the choice is an option of the compiler,
//! the model is compiled both ways and the two plans are compared ([`How::Compiled`]). If the compiler always makes the choice, it is
//! priced call by call: the calls of the plan against those that would stand in their place, by the same cost functions ([`How::Priced`]).
//! A figure that rests on a measurement of another card says so ([`How::Extrapolated`], [`How::Measured`]), and a lever for which nothing
//! was published has no figure. Levers overlap, so their savings do not add up.
//!
//! A saving has a band, as a predicted time has: both positions are priced with each constant at either end of its band, and the changes of
//! the saving add up in squares. What both positions have in common leaves no trace in it, so a small saving may be certain.

mod lm_head;
mod movement;
mod precision;
mod projections;
#[cfg(test)]
mod tests;

use bitnetc_compiler::model::Model;
use bitnetc_compiler::policy::Policy;
use bitnetc_compiler::target::Target;
use bitnetc_compiler::ttnn::cost::data_bytes;
use bitnetc_compiler::{CompileError, Options, compile};
use bitnetc_plan::op::Role;
use bitnetc_plan::{Cost, Plan, Step};

use crate::bench::Bench;
use crate::rows::{RowsError, Use};

/// The origin of a lever's figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// Two compiled plans are compared.
    Compiled,
    /// The cost model prices the calls.
    Priced,
    /// The cost model prices the calls with a constant that was measured elsewhere, or with an assumption.
    Extrapolated(String),
    /// A published measurement, on the card named.
    Measured(String),
    /// There is no figure.
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
    /// The position it is moved from, and the one it is moved to.
    pub positions: (String, String),
    /// Predicted microseconds per step in the two positions, or the reason why there are none.
    pub us: Result<(f64, f64), String>,
    /// The least and the largest saving that the bands of the constants leave possible.
    pub band_us: (f64, f64),
    /// The origin of the figures.
    pub how: How,
    /// A note on the comparison for readers.
    pub note: String,
}

impl Lever {
    /// Microseconds saved per step.
    pub fn saved_us(&self) -> Option<f64> {
        self.us.as_ref().ok().map(|(from, to)| from - to)
    }

    /// Whether the band leaves open which of the two positions is the faster.
    pub fn is_open(&self) -> bool {
        self.band_us.0 < 0.0 && self.band_us.1 > 0.0
    }
}

/// A step of the plan, or the waiting between its steps, and its share of the time.
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

    /// The part of that time that exceeds the transfer of its bytes at the card's peak DRAM bandwidth.
    pub fn above_dram_us(&self, target: &Target) -> f64 {
        self.us() - f64::from(self.times) * self.cost.dram_bytes as f64 / (target.cost.dram_gb_per_s * 1000.0)
    }
}

/// A decode step of one policy, compared with the time of reading its weights from DRAM.
#[derive(Debug, Clone, PartialEq)]
pub struct Distance {
    /// The policy.
    pub policy: Policy,
    /// Predicted microseconds on the card and of host work, or the reason why there is no plan.
    pub us: Result<(f64, f64), String>,
    /// Least and largest microseconds on the card that the bands of the constants leave possible.
    pub band_us: (f64, f64),
    /// Bytes of weights that a step reads.
    pub weight_bytes: u64,
    /// Microseconds that these bytes take at the card's peak bandwidth.
    pub floor_us: f64,
}

/// The levers and the steps of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Levers {
    /// The decode step under each policy.
    pub distances: Vec<Distance>,
    /// The levers of decode, each on its own.
    pub levers: Vec<Lever>,
    /// The lever of the last token's slice, in a prefill of [`BUCKET`] tokens.
    pub prefill: Lever,
    /// The steps of the plan, those first that exceed the transfer time of their bytes most.
    pub shares: Vec<Share>,
    /// Policy of that plan.
    pub policy: Policy,
    /// Position at which attention was priced.
    pub position: u32,
}

/// Prefill bucket on which the last-token slice is priced.
pub const BUCKET: u32 = 128;

/// The reasons for which levers cannot be priced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeversError {
    /// The model has no plan with these options, with which the levers would be compared.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// A data file of this crate is broken, which is a defect of bitnetc.
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
    let (policy, position) = (options.policy, options.priced_at());
    let bench = Bench::new(model, target, options, compiled)?;
    let mut shares = bench.shares();
    shares.sort_by(|a, b| b.above_dram_us(target).total_cmp(&a.above_dram_us(target)));
    let mut levers = bench.all()?;
    band(&mut levers, &bench)?;
    let prefill = levers.remove(0);
    let distances = Policy::ALL.map(|policy| bench.distance(policy)).to_vec();
    Ok(Levers { distances, levers, prefill, shares, policy, position })
}

/// Finds the bands of savings.
fn band(levers: &mut [Lever], bench: &Bench<'_>) -> Result<(), CompileError> {
    let mut squares = vec![(0.0, 0.0); levers.len()];
    for moved in bench.target.bands.moved(&bench.target.cost) {
        let mut ends = Vec::new();
        for cost in moved.ends {
            let target = Target { cost, ..bench.target.clone() };
            ends.push(bench.priced_by(&target).all()?);
        }
        for (at, (lever, (less, more))) in levers.iter().zip(&mut squares).enumerate() {
            let change = |end: &Vec<Lever>| Some(end.get(at)?.saved_us()? - lever.saved_us()?);
            let changes: Vec<f64> = ends.iter().filter_map(change).collect();
            *less += changes.iter().copied().fold(0.0, f64::min).powi(2);
            *more += changes.iter().copied().fold(0.0, f64::max).powi(2);
        }
    }
    for (lever, (less, more)) in levers.iter_mut().zip(squares) {
        let (less, more): (f64, f64) = (less, more);
        if let Some(saved) = lever.saved_us() {
            lever.band_us = (saved - less.sqrt(), saved + more.sqrt());
        }
    }
    Ok(())
}

impl Bench<'_> {
    fn distance(&self, policy: Policy) -> Distance {
        let variant = self.variant(|o| o.policy = policy);
        let weight_bytes = variant.as_ref().map_or(0, |c| weight_bytes(&c.compiled.plan));
        let band_us =
            variant.as_ref().ok().and_then(|c| c.compiled.plan.decode().map(|p| p.cost.band_us)).unwrap_or_default();
        let us = variant.map(|c| {
            c.compiled.plan.decode().map_or((0.0, 0.0), |p| (p.cost.device_us, p.cost.host_us.unwrap_or(0.0)))
        });
        Distance {
            policy,
            us,
            band_us,
            weight_bytes,
            floor_us: weight_bytes as f64 / (self.target.cost.dram_gb_per_s * 1000.0),
        }
    }

    fn shares(&self) -> Vec<Share> {
        let waits_us = self.compiled.plan.decode().map_or(0.0, |phase| phase.cost.waits_us);
        let waits =
            Share { name: "waiting to be dispatched".into(), times: 1, cost: Cost { us: waits_us, ..Cost::default() } };
        let steps = self.steps().map(|(times, step)| Share { name: step.name.clone(), times, cost: step.cost });
        steps.chain([waits]).collect()
    }

    /// The lever of prefill, and those of decode.
    fn all(&self) -> Result<Vec<Lever>, CompileError> {
        let mut levers = vec![self.last_token()];
        levers.extend(self.precision().map_err(CompileError::Policy)?);
        levers.extend(self.interleaved_matmuls());
        levers.extend([self.norms(), self.chunks(), self.fused_qkv(), self.cache()]);
        levers.extend(self.host());
        Ok(levers)
    }

    /// [`How::Priced`], or [`How::Extrapolated`] if the named constant was measured only on another card.
    fn rests_on(&self, constant: &str) -> How {
        match self.measured_on(constant).filter(|card| **card != self.target.card.name) {
            Some(card) => How::Extrapolated(format!("extrapolated, {constant} was measured on {card}")),
            None => How::Priced,
        }
    }

    /// The card on which the named constant was measured: this card if it is among several, otherwise the first of them.
    fn measured_on(&self, constant: &str) -> Option<&String> {
        let sets = |used: &Use| matches!(used, Use::Sets(what) if what.as_str() == constant);
        let cards: Vec<_> = self.rows.calls.iter().filter(|r| sets(&r.used)).map(|r| &r.target).collect();
        cards.iter().find(|card| ***card == self.target.card.name).or(cards.first()).copied()
    }
}

/// Bytes of tiled weights that a decode step reads.
fn weight_bytes(plan: &Plan) -> u64 {
    let Some(phase) = plan.decode() else { return 0 };
    let read = |steps: &[Step], times: u64| -> u64 {
        let uses = steps.iter().flat_map(|step| step.op.uses()).filter(|used| used.role == Role::Matrix);
        let operands = uses.filter_map(|used| plan.weight(used.tensor.name()));
        operands.map(|w| times * data_bytes(&w.spec)).sum()
    };
    read(&phase.prologue, 1) + read(&phase.layer, u64::from(plan.model.layers)) + read(&phase.epilogue, 1)
}
