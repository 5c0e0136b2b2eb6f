//! Levers that are options of the compiler. Each compares two plans.

use super::{How, Lever};
use crate::bench::Bench;
use bitnetc_compiler::Options;
use bitnetc_compiler::graph::Role;
use bitnetc_compiler::policy::{Override, Policy, PolicyError, ROLES};
use bitnetc_plan::Proofs;

impl Bench<'_> {
    /// A lever from two plans that differ in their options.
    fn compare(
        &self,
        name: &str,
        positions: (&str, &str),
        from: impl FnOnce(&mut Options),
        to: impl FnOnce(&mut Options),
    ) -> Lever {
        let us = self.variant(from).and_then(|a| self.variant(to).map(|b| (self.device_us(&a), self.device_us(&b))));
        Lever {
            name: name.into(),
            positions: (positions.0.into(), positions.1.into()),
            us,
            band_us: (0.0, 0.0),
            how: How::Compiled,
            note: String::new(),
        }
    }

    pub(super) fn precision(&self) -> Result<Vec<Lever>, PolicyError> {
        let all = |precision: &'static str, lm_head: &'static str| {
            let overrides = uniform(precision, lm_head)?;
            Ok(move |o: &mut Options| {
                o.proofs = Proofs::None;
                o.overrides.extend(overrides);
            })
        };
        let fidelity = "fidelity, bfp8 weights";
        let weights = "weights of layers, LoFi";
        let policy = |policy: Policy| move |o: &mut Options| o.policy = policy;
        Ok(vec![
            self.compare(
                fidelity,
                ("HiFi4", "HiFi2"),
                all("bfp8/HiFi4", "bfp8/HiFi4")?,
                all("bfp8/HiFi2", "bfp8/HiFi2")?,
            ),
            self.compare(fidelity, ("HiFi2", "LoFi"), all("bfp8/HiFi2", "bfp8/HiFi2")?, all("bfp8/LoFi", "bfp8/LoFi")?),
            self.compare(weights, ("bf16", "bfp8"), all("bf16/LoFi", "bfp8/HiFi2")?, all("bfp8/LoFi", "bfp8/HiFi2")?),
            self.compare(weights, ("bfp8", "bfp4"), all("bfp8/LoFi", "bfp8/HiFi2")?, all("bfp4/LoFi", "bfp8/HiFi2")?),
            self.compare(weights, ("bfp4", "bfp2"), all("bfp4/LoFi", "bfp8/HiFi2")?, all("bfp2/LoFi", "bfp8/HiFi2")?),
            self.compare(
                "LM head",
                ("bf16 HiFi4", "bfp8 HiFi2"),
                all("bfp4/LoFi", "bf16/HiFi4")?,
                all("bfp4/LoFi", "bfp8/HiFi2")?,
            ),
            self.compare(
                "precision by proof",
                ("as asked", "proved"),
                |o| o.proofs = Proofs::None,
                |o| o.proofs = Proofs::Products,
            ),
            self.compare("weight scales", ("multiplied", "folded"), |o| o.folding = false, |o| o.folding = true),
            self.compare("policy", ("exact", "balanced"), policy(Policy::Exact), policy(Policy::Balanced)),
            self.compare("policy", ("balanced", "fast"), policy(Policy::Balanced), policy(Policy::Fast)),
            self.compare("policy", ("fast", "fastest"), policy(Policy::Fast), policy(Policy::Fastest)),
        ])
    }
}

/// Overrides that set all projections of the layers to one precision and the LM head to another.
fn uniform(precision: &str, lm_head: &str) -> Result<Vec<Override>, PolicyError> {
    let roles = ROLES.iter().filter(|(_, role)| *role != Role::Sdpa);
    roles
        .map(|(name, role)| format!("{name}={}", if *role == Role::LmHead { lm_head } else { precision }).parse())
        .collect()
}
