//! The time a step would take at the peak of the DRAM or of the matrix unit, if nothing else slowed it down.

use bitnetc_plan::Plan;

use crate::input;

/// Peaks of a card, from its target file: a plan holds bytes and cycles, no speeds.
#[derive(Debug, Clone, Copy)]
pub struct Roofline {
    dram_gb_per_s: f64,
    clock_ghz: f64,
}

impl Roofline {
    /// The peaks of the plan's card; `None` when no shipped target has that card.
    pub fn of(plan: &Plan) -> Option<Self> {
        let target = input::target_of(plan)?;
        Some(Roofline { dram_gb_per_s: target.cost.dram_gb_per_s, clock_ghz: target.cost.clock_ghz })
    }

    /// Microseconds of `bytes` of DRAM traffic at all banks' peak bandwidth.
    pub fn dram_us(&self, bytes: u64) -> f64 {
        bytes as f64 / (self.dram_gb_per_s * 1000.0)
    }

    /// Microseconds of `cycles` of the busiest core's matrix unit.
    pub fn fpu_us(&self, cycles: u64) -> f64 {
        cycles as f64 / (self.clock_ghz * 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use bitnetc_compiler::target::Target;
    use bitnetc_compiler::{Options, compile, model};

    use super::*;

    #[test]
    fn peaks_are_those_of_the_plans_own_card() {
        let model = model::find("tiny-shakespeare").unwrap().model().unwrap();
        let options = Options { prefill: vec![], ..Options::for_model(&model) };
        let mut plan = compile(&model, &Target::find("n150").unwrap(), &options).unwrap().plan.into_plan();
        let roofline = Roofline::of(&plan).unwrap();
        assert!((roofline.dram_us(288_000) - 1.0).abs() < 1e-9 && (roofline.fpu_us(2_000) - 2.0).abs() < 1e-9);
        // No step is predicted to be faster than its roofline.
        for step in plan.phases.iter().flat_map(|p| p.steps()) {
            let least = roofline.dram_us(step.cost.dram_bytes).max(roofline.fpu_us(step.cost.fpu_cycles));
            assert!(step.cost.us >= least, "{}: {} us, {least} at peak", step.name, step.cost.us);
        }
        plan.card.dram.banks -= 1;
        assert!(Roofline::of(&plan).is_none(), "another card of that name");
        plan.card.name = "targets/n150.ron".into();
        assert!(Roofline::of(&plan).is_none(), "no file is read");
    }
}
