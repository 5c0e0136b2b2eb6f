//! A decode step built in another way than the plan's: its parts as they are, or as they would be with a lever not yet pulled.

use bitnetc_plan::{Op, Step, TensorSpec};

use super::Bench;
use crate::calibration::host;
use crate::graph::Role;
use crate::schedule::Kind;
use crate::ttnn::Candidate;
use crate::ttnn::cost::data_bytes;

/// Which levers, other than options of the compiler, are pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Built {
    /// Projections and LM head read DRAM-sharded weights.
    pub sharded: bool,
    /// q, k and v are one projection.
    pub fused: bool,
    /// Norms are sharded.
    pub norms: bool,
    /// KV caches are written in place.
    pub in_place: bool,
    /// The LM head has the plan's chunks, not the most that were considered.
    pub chunks: bool,
    /// Host copies are hidden behind the card's work.
    pub queues: bool,
    /// The card picks the token.
    pub on_card: bool,
}

/// Microseconds of a step by what they are spent on, in a fixed order.
pub(super) type Parts = Vec<(&'static str, f64)>;

impl Bench<'_> {
    /// The plan's step, built so.
    pub(super) fn built(&self, built: Built) -> Result<Parts, String> {
        let sum = |take: &dyn Fn(&Step) -> bool| -> f64 {
            self.steps().filter(|(_, s)| take(s)).map(|(times, s)| f64::from(times) * s.cost.us).sum()
        };
        let norms = sum(&|s| matches!(s.op, Op::RmsNorm(_)));
        let cache = sum(&is_cache);
        let argmax = sum(&|s| matches!(s.op, Op::ArgMax(_)));
        let projections: f64 = self.projections().map(|(times, s, ..)| f64::from(times) * s.cost.us).sum();
        let head = self.head().map_or(0.0, |c| c.price.us());
        let rest = sum(&|_| true) - norms - cache - argmax - projections - head;
        let target = self.target;
        let token = if built.on_card {
            argmax + target.cost.host_us
        } else {
            host::sampling_us(target, self.compiled.plan.model.vocab, self.options.batch).map_err(|e| e.to_string())?
        };
        Ok(vec![
            ("projections", self.projections_us(built)?),
            ("LM head", self.head_us(built)?),
            ("norms", if built.norms { norms } else { self.interleaved_norms(built.sharded)? }),
            ("KV cache", if built.in_place { cache } else { self.concatenated_cache()? }),
            ("everything else on the card", rest),
            ("token", token),
            ("host copies", if built.queues { 0.0 } else { self.published.copies.us }),
        ])
    }

    /// Microseconds of a matmul that reads an interleaved weight, spread over all cores.
    pub(super) fn interleaved_us(&self, weight: &TensorSpec, fidelity: bitnetc_plan::Fidelity) -> f64 {
        let c = &self.target.cost;
        let read = data_bytes(weight) as f64 / (c.movement.interleaved_gb_per_s * 1000.0);
        let products =
            (weight.tile_rows() * weight.tile_columns().div_ceil(u64::from(self.target.card.cores()))) as f64;
        let cycles = c.fpu.tile_cycles + 16.0 * f64::from(fidelity.phases()) * c.fpu.phase_factor;
        let compute = products * cycles / (c.clock_ghz * 1000.0);
        (c.dram_sharded.start_us + read.max(compute) + c.launch_us).max(c.period_us)
    }

    /// Microseconds of all projections of the layers.
    fn projections_us(&self, built: Built) -> Result<f64, String> {
        let mut sum = 0.0;
        for (times, step, spec, args) in self.projections() {
            let pieces =
                if !built.fused && self.role(step) == Some(Role::Qkv) { self.heads_of_qkv(spec)? } else { Vec::new() };
            let us = match (built.sharded, pieces.is_empty()) {
                (true, true) => step.cost.us,
                (true, false) => self.best_sharded(&pieces, spec, args.compute)?,
                (false, true) => self.interleaved_us(spec, args.compute.fidelity),
                (false, false) => {
                    pieces.iter().map(|n| self.interleaved_us(&columns(spec, *n), args.compute.fidelity)).sum()
                }
            };
            sum += f64::from(times) * us;
        }
        Ok(sum)
    }

    /// Microseconds of the LM head.
    fn head_us(&self, built: Built) -> Result<f64, String> {
        let chosen = self.head().ok_or("the plan has no LM head")?;
        let candidate = if built.chunks { chosen } else { self.most_chunks().unwrap_or(chosen) };
        if built.sharded {
            return Ok(candidate.price.us());
        }
        let of = |draft: &crate::ttnn::Draft| match &draft.op {
            Op::Matmul(args) => candidate
                .weights
                .iter()
                .find(|w| w.name == args.b.name())
                .map_or(draft.cost.us, |w| self.interleaved_us(&w.spec, args.compute.fidelity)),
            _ => draft.cost.us,
        };
        Ok(candidate.drafts.iter().map(of).sum())
    }

    /// The chosen way of the LM head.
    pub(super) fn head(&self) -> Option<&Candidate> {
        self.head_ways().and_then(|r| r.ways.candidates.get(r.chosen))
    }

    /// The cheapest way with the most chunks.
    pub(super) fn most_chunks(&self) -> Option<&Candidate> {
        let candidates = &self.head_ways()?.ways.candidates;
        let most = candidates.iter().map(|c| c.chunks).max()?;
        candidates.iter().filter(|c| c.chunks == most).min_by_key(|c| c.price)
    }

    /// All ways of the LM head in decode.
    pub(super) fn head_ways(&self) -> Option<&crate::passes::Record> {
        self.records().find(|r| matches!(r.call.kind, Kind::LmHead { .. }))
    }
}

/// Whether a step writes keys or values into their cache.
pub(super) fn is_cache(step: &Step) -> bool {
    matches!(step.op, Op::CacheUpdate(_) | Op::CacheUpdateOne(_))
}

/// The first `tiles` columns of a weight, interleaved.
fn columns(weight: &TensorSpec, tiles: u32) -> TensorSpec {
    let mut shape = weight.shape.clone();
    if let Some(last) = shape.last_mut() {
        *last = tiles * bitnetc_plan::TILE;
    }
    TensorSpec { shape, ..weight.clone() }
}
