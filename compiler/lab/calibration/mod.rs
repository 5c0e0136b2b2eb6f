//! Calibration: the cost model compared with published measurements.
//!
//! The rows are data ([`crate::rows`]): whole decode steps and single calls, each with its source and with the use that was made of it. Six
//! steps determined `host.sampling_us` and two constants of `dram_sharded` ([`refit`] fits them again). Other
//! constants were read from some of the calls. All other rows were kept out of the fit, and only their errors tell how well the model
//! predicts.
//!
//! Most of the steps were measured with the demo of tt_transformers (200 tokens after a prompt of 128). They ran the schedule of that library and
//! not a plan of this compiler, so that schedule is priced here, call by call, by the same rules and cost functions:
//!
//! - projections are DRAM-sharded; the input's cores divide K and N (MLP), are as many as the query heads (O) or, among the divisors of
//!   K, the nearest to 32 (QKV), and the K-block is the largest divisor of an input shard's tiles up to 8;
//! - q and k are rotated by two calls, keys and values cached by two; QKV leaves its shards for the head split (or not:
//!   [`Scheduled::QkvSharded`]), attention's result enters height shards for the concatenation;
//! - three reshards per layer are counted at their cost. The library asks for more, of which those between equal placements cost nothing.
//!   It is not published which these are, so the number comes from the fit;
//! - the LM head is cut into chunks of at most 668 columns per core, on Blackhole of 16032 in all, each brought to interleaved memory, then
//!   joined;
//! - the step ends in a host loop that samples ([`bitnetc_compiler::target::Host::sampled_us`]).
//!
//! Times to the first token are priced by our own plan of the prompt, whose prefill is much like the measured one, and the same host loop.

mod band;
mod calls;
mod parts;
mod reference;
pub mod refit;

pub use reference::reference;

use bitnetc_plan::ttnn::Violation;
use bitnetc_plan::{PhaseKind, Proofs, Step};

use bitnetc_compiler::graph::{Operation, Role, TypeError};
use bitnetc_compiler::model::{Model, PhaseError};
use bitnetc_compiler::passes::prepare;
use bitnetc_compiler::policy::{Policy, PolicyError};
use bitnetc_compiler::target::Target;
use bitnetc_compiler::{CompileError, Options, compile};

use crate::bench::Bench;
use crate::priced::{PricedCall, PricedStep};
use crate::rows::{POSITION, PrefillRow, RowsError, Scheduled, StepRow};

/// The sizes of a Llama-like model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Layers.
    pub layers: u32,
    /// Columns of the residual stream.
    pub hidden: u32,
    /// Columns of the MLP's product.
    pub ffn: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads.
    pub kv_heads: u32,
    /// Columns of a head.
    pub head_dim: u32,
    /// Rows of the LM head.
    pub vocab: u32,
}

/// The reasons for which a row cannot be priced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CalibrationError {
    /// The model has no decode phase.
    #[error(transparent)]
    Phase(#[from] PhaseError),
    /// Fusing broke the graph, which is a defect of bitnetc.
    #[error(transparent)]
    Type(#[from] TypeError),
    /// The model lacks a part that the reference schedule needs.
    #[error("{model} has no {missing}, so it is no Llama-like model and its schedule is not known")]
    Unlike {
        /// The model.
        model: String,
        /// The part that is missing.
        missing: &'static str,
    },
    /// A precision of a row.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A data file of this crate is broken, which is a defect of bitnetc.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// There is no plan.
    #[error(transparent)]
    Compile(#[from] Box<CompileError>),
    /// A call of the interleaved schedule has no price.
    #[error("{0}")]
    Unpriced(String),
    /// Our rules refuse a call of the measured schedule.
    #[error("{call}: {}", .violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Refused {
        /// The call.
        call: String,
        /// The constraints that the call breaks.
        violations: Vec<Violation>,
    },
}

impl Shape {
    /// The sizes of a model, from its decode graph.
    ///
    /// # Errors
    /// When it is not Llama-like.
    pub fn of(model: &Model) -> Result<Self, CalibrationError> {
        let mut graph = model.to_graph(PhaseKind::Decode { batch: 1 }, model.context)?;
        prepare(&mut graph, Policy::Fast, true)?;
        let width = |role: Role, inner: bool, missing| {
            let found = graph.nodes().map(|n| graph.node(n)).filter(|n| n.role == role).find_map(|n| {
                let Operation::Linear(linear) = &n.op else { return None };
                Some(if inner { linear.in_width() } else { linear.out_width() } as u32)
            });
            found.ok_or_else(|| CalibrationError::Unlike { model: model.name.clone(), missing })
        };
        let heads = graph.nodes().find_map(|n| {
            let Operation::SplitHeads { heads, kv_heads, head_dim } = graph.node(n).op else { return None };
            Some((heads as u32, kv_heads as u32, head_dim as u32))
        });
        let missing = || CalibrationError::Unlike { model: model.name.clone(), missing: "attention heads" };
        let (heads, kv_heads, head_dim) = heads.ok_or_else(missing)?;
        Ok(Shape {
            layers: model.layers as u32,
            hidden: width(Role::Qkv, true, "QKV projection")?,
            ffn: width(Role::Down, true, "down projection")?,
            heads,
            kv_heads,
            head_dim,
            vocab: width(Role::LmHead, false, "LM head")?,
        })
    }
}

impl StepRow {
    /// The step that was measured, priced on a card.
    ///
    /// # Errors
    /// When the model is not Llama-like, our rules refuse the schedule, or there is no plan.
    pub fn predict(&self, model: &Model, target: &Target) -> Result<PricedStep, CalibrationError> {
        match self.schedule {
            Scheduled::TtTransformers | Scheduled::QkvSharded => reference(&Shape::of(model)?, self, target),
            Scheduled::Interleaved => self.interleaved(model, target),
            Scheduled::Plan => self.plan(model, target),
            Scheduled::PlanGreedy => {
                let (calls, _) = self.plan_calls(model, target, true)?;
                Ok(PricedStep { calls, host_us: target.cost.host.replay_us })
            }
        }
    }

    /// The compiler's own plan of the row. Its host samples as in the measured step, so argmax and the steps after it are left out.
    ///
    /// # Errors
    /// When there is no plan.
    pub fn plan(&self, model: &Model, target: &Target) -> Result<PricedStep, CalibrationError> {
        let (calls, vocab) = self.plan_calls(model, target, false)?;
        Ok(PricedStep { calls, host_us: target.cost.host.sampled_us(self.batch, vocab) })
    }

    /// The decode calls of the compiler's own plan of the row, those up to the logits or all of them, and its vocabulary.
    fn plan_calls(
        &self,
        model: &Model,
        target: &Target,
        after_logits: bool,
    ) -> Result<(Vec<PricedCall>, u32), CalibrationError> {
        let compiled = compile(model, target, &self.options(model)?).map_err(Box::new)?;
        let kind = PhaseKind::Decode { batch: self.batch };
        let mut calls = Vec::new();
        if let Some(phase) = compiled.plan.phase(kind) {
            let layers = compiled.plan.model.layers;
            let logits = |step: &Step| step.outputs.iter().any(|value| phase.results.contains(&value.name));
            let up_to_logits = phase.epilogue.iter().position(logits).map_or(0, |at| at + 1);
            let tail = if after_logits { phase.epilogue.len() } else { up_to_logits };
            let sections = [(1, &phase.prologue[..]), (layers, &phase.layer), (1, &phase.epilogue[..tail])];
            for (times, steps) in sections {
                calls.extend(steps.iter().map(|s| PricedCall { name: s.name.clone(), times, cost: s.cost }));
            }
        }
        Ok((calls, compiled.plan.model.vocab))
    }

    /// The step of a port that shards nothing, made of the calls of the compiler's plan in the row's precision.
    fn interleaved(&self, model: &Model, target: &Target) -> Result<PricedStep, CalibrationError> {
        let mut options = self.options(model)?;
        (options.proofs, options.folding) = (Proofs::None, false);
        let compiled = compile(model, target, &options).map_err(Box::new)?;
        Bench::new(model, target, options, compiled)?.interleaved_step().map_err(CalibrationError::Unpriced)
    }

    fn options(&self, model: &Model) -> Result<Options, CalibrationError> {
        let mut options = Options::for_model(model);
        options.policy = Policy::Balanced;
        options.overrides = self.overrides()?;
        options.batch = self.batch;
        let position = self.position.unwrap_or(POSITION);
        options.position = Some(position);
        options.prefill = Vec::new();
        // A context that holds the position, up to that of the model.
        while position >= options.context && options.context * 2 <= model.context as u32 {
            options.context *= 2;
        }
        Ok(options)
    }
}

impl PrefillRow {
    /// Predicted milliseconds to the first token: our plan's prefill of the prompt, and the host loop of the measured one.
    ///
    /// # Errors
    /// When there is no plan.
    pub fn predict(&self, model: &Model, target: &Target) -> Result<f64, CalibrationError> {
        let mut options = Options::for_model(model);
        options.overrides = self.overrides()?;
        options.context = options.context.max(self.tokens);
        options.prefill = vec![self.tokens];
        let plan = compile(model, target, &options).map_err(Box::new)?.plan;
        let card = plan.phase(PhaseKind::Prefill { tokens: self.tokens }).map_or(0.0, |phase| phase.cost.device_us);
        Ok((card + target.cost.host.sampled_us(1, plan.model.vocab)) / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitnetc_compiler::model::{find, shipped};
    use bitnetc_compiler::target::NAMES;

    use crate::rows::{Rows, Use};

    fn error(row: &StepRow) -> f64 {
        let model = find(&row.model).unwrap().model().unwrap();
        row.predict(&model, &Target::find(&row.target).unwrap()).unwrap().tokens_per_s() / row.tokens_per_s - 1.0
    }

    #[test]
    fn every_row_of_the_fit_is_predicted_within_five_percent() {
        for row in Rows::published().unwrap().steps.iter().filter(|r| r.used == Use::Fit) {
            assert!(error(row).abs() < 0.05, "{row:?}: {:+.1} %", 100.0 * error(row));
        }
    }

    /// Steps that no constant was fitted to, of the release and schedule that are priced: what the model is worth.
    #[test]
    fn every_row_kept_out_is_predicted_nearly() {
        for row in Rows::published().unwrap().steps.iter().filter(|r| r.used == Use::None && r.note.is_empty()) {
            let most = if row.target == "n150" { 0.08 } else { 0.12 };
            assert!(error(row).abs() < most, "{row:?}: {:+.1} %", 100.0 * error(row));
        }
    }

    #[test]
    fn kernels_are_predicted_nearly_and_prefills_too() {
        let rows = Rows::published().unwrap();
        for row in rows.calls.iter().filter(|r| r.kernel) {
            let error = row.predict(&Target::find(&row.target).unwrap()).unwrap() / row.middle_us() - 1.0;
            assert!(error.abs() < 0.15, "{row:?}: {:+.1} %", 100.0 * error);
        }
        for row in &rows.prefills {
            let model = find(&row.model).unwrap().model().unwrap();
            let error = row.predict(&model, &Target::find(&row.target).unwrap()).unwrap() / row.ms - 1.0;
            assert!(error.abs() < 0.2, "{row:?}: {:+.1} %", 100.0 * error);
        }
    }

    #[test]
    fn every_row_kept_out_has_a_prediction() {
        let rows = Rows::published().unwrap();
        for row in rows.steps.iter().filter(|r| r.used == Use::None) {
            assert!(error(row).is_finite(), "{row:?}");
        }
        for row in &rows.calls {
            let us = row.predict(&Target::find(&row.target).unwrap()).unwrap();
            assert!(us > 0.0 && us < 5.0 * row.us.1, "{row:?}: {us}");
        }
    }

    #[test]
    fn a_token_chosen_on_the_card_costs_argmax_and_no_sampling() {
        let row = Rows::published().unwrap().steps[0].clone();
        let (model, target) = (find(&row.model).unwrap().model().unwrap(), Target::find(&row.target).unwrap());
        let of = |schedule| StepRow { schedule, ..row.clone() }.predict(&model, &target).unwrap();
        let (sampled, greedy) = (of(Scheduled::Plan), of(Scheduled::PlanGreedy));
        assert_eq!((greedy.host_us, greedy.calls.len() > sampled.calls.len()), (target.cost.host.replay_us, true));
        assert!(greedy.device_us() > sampled.device_us() && greedy.tokens_per_s() > sampled.tokens_per_s());
    }

    #[test]
    fn no_shipped_model_or_card_makes_pricing_panic() {
        let rows = Rows::published().unwrap();
        for shipped in shipped() {
            let model = shipped.model().unwrap();
            for name in NAMES {
                for (batch, position) in [(1, Some(0)), (32, Some(5000)), (8, None)] {
                    let row = StepRow { batch, position, ..rows.steps[0].clone() };
                    let Ok(step) = row.predict(&model, &Target::find(name).unwrap()) else { continue };
                    assert!(step.tokens_per_s() > 0.0);
                }
            }
        }
    }

    #[test]
    fn keeping_qkv_sharded_and_a_smaller_batch_are_no_slower() {
        let rows = Rows::published().unwrap().steps;
        let (model, target) = (find("llama-3.1-8b").unwrap().model().unwrap(), Target::find("n150").unwrap());
        let speed = |row: StepRow| row.predict(&model, &target).unwrap().tokens_per_s();
        let row = rows.iter().find(|r| r.model == "llama-3.1-8b").unwrap();
        assert!(speed(StepRow { schedule: Scheduled::QkvSharded, ..row.clone() }) > speed(row.clone()));
        assert!(speed(StepRow { batch: 32, ..row.clone() }) < speed(row.clone()));
        assert!(speed(StepRow { position: Some(4000), ..row.clone() }) < speed(row.clone()));
    }

    #[test]
    fn sizes_come_from_the_graph() {
        let shape = Shape::of(&find("phi-3-mini-128k").unwrap().model().unwrap()).unwrap();
        let expected =
            Shape { layers: 32, hidden: 3072, ffn: 8192, heads: 32, kv_heads: 32, head_dim: 96, vocab: 32064 };
        assert_eq!(shape, expected);
    }
}
