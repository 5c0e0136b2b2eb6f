//! The levers one after another: from the schedule of the hand-written port to the plan.

use std::rc::Rc;

use super::built::Built;
use super::precision::{Precisions, uniform};
use super::{Bench, How};
use crate::policy::Policy;
use crate::{Compiled, Options};
use bitnetc_plan::Proofs;

/// A lever pulled after all before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// Its name.
    pub name: &'static str,
    /// What it is moved from and to.
    pub change: String,
    /// Predicted microseconds of a step from here on, or why there are none.
    pub us: Result<f64, String>,
    /// What the figure rests on.
    pub how: How,
}

/// Both compiled and built, from the first schedule to the last.
struct Pull {
    name: &'static str,
    change: String,
    how: How,
    pull: fn(&mut Built, &mut Precisions),
}

const fn nothing(_: &mut Built, _: &mut Precisions) {}

impl Bench<'_> {
    /// All stages; the first is where it starts, the last the plan itself.
    pub(super) fn chain(&self) -> Vec<Stage> {
        let mut stages = Vec::new();
        let (mut built, mut precisions) = (Built::default(), Precisions::default());
        let mut variant = self.variant_of(&precisions);
        for pull in self.pulls() {
            let before = precisions.clone();
            (pull.pull)(&mut built, &mut precisions);
            if precisions != before {
                variant = self.variant_of(&precisions);
            }
            let us = variant.as_ref().map_err(Clone::clone).and_then(|compiled| {
                let parts = Bench { compiled, ..*self }.built(built)?;
                Ok(parts.iter().map(|(_, us)| us).sum())
            });
            stages.push(Stage { name: pull.name, change: pull.change, us, how: pull.how });
        }
        let us = self.built(built).map(|parts| parts.iter().map(|(_, us)| us).sum());
        let change = format!("as the {} policy asks, proved", self.options.policy);
        stages.push(Stage { name: "policy", change, us, how: How::Compiled });
        stages
    }

    fn variant_of(&self, precisions: &Precisions) -> Result<Rc<Compiled>, String> {
        let overrides = uniform(precisions.layers, precisions.lm_head).map_err(|e| e.to_string())?;
        self.variant(|o: &mut Options| {
            o.policy = Policy::Balanced;
            o.proofs = Proofs::None;
            o.folding = precisions.folded;
            o.overrides.extend(overrides);
        })
    }

    fn pulls(&self) -> Vec<Pull> {
        let pull = |name, change: &str, how, pull| Pull { name, change: change.to_string(), how, pull };
        let copies = How::Measured(self.published.copies.card.clone());
        vec![
            pull("start", "all interleaved, bf16 HiFi4, token and copies by the host", How::Priced, nothing),
            pull("fidelity", "HiFi4 -> HiFi2", How::Priced, |_, p| {
                (p.layers, p.lm_head) = ("bf16/HiFi2", "bf16/HiFi2")
            }),
            pull("projections", "interleaved -> DRAM-sharded; norms convert", How::Priced, |b, _| b.sharded = true),
            pull("QKV", "three projections -> one", How::Priced, |b, _| b.fused = true),
            pull("norms", "interleaved -> sharded", self.rests_on("norm.interleaved_tile_us"), |b, _| b.norms = true),
            pull("KV cache", "concatenated -> in place", How::Priced, |b, _| b.in_place = true),
            pull("LM head", "most chunks -> cheapest", How::Priced, |b, _| b.chunks = true),
            pull("weights", "bf16 -> bfp8", How::Compiled, |_, p| p.layers = "bfp8/HiFi2"),
            pull("fidelity", "HiFi2 -> LoFi", How::Compiled, |_, p| p.layers = "bfp8/LoFi"),
            pull("weights", "bfp8 -> bfp4", How::Compiled, |_, p| p.layers = "bfp4/LoFi"),
            pull("LM head", "bf16 -> bfp8", How::Compiled, |_, p| p.lm_head = "bfp8/HiFi2"),
            pull("weight scales", "multiplied -> folded", How::Compiled, |_, p| p.folded = true),
            pull("second queue", "host copies wait -> hidden", copies, |b, _| b.queues = true),
            pull("token", "sampled on the host -> argmax", self.token_rests_on(), |b, _| b.on_card = true),
        ]
    }
}
