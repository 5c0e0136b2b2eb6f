//! No step is predicted to be faster than its DRAM traffic at peak bandwidth or its products at peak rate, on any shipped model; and what
//! attention is given to work with.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use bitnetc_compiler::target::Target;
use bitnetc_compiler::ttnn::cost::Price;
use bitnetc_compiler::{Options, compile, model};
use bitnetc_plan::{Op, Plan};

fn plan(name: &str, target: &Target, change: impl FnOnce(&mut Options)) -> Plan {
    let model = model::find(name).unwrap().model().unwrap();
    let mut options = Options { prefill: vec![], ..Options::for_model(&model) };
    change(&mut options);
    compile(&model, target, &options).unwrap().plan.into_plan()
}

#[test]
fn no_step_is_below_its_roofline() {
    for target in ["n150", "p150"].map(|t| Target::find(t).unwrap()) {
        for shipped in model::shipped() {
            let model = shipped.model().unwrap();
            for batch in [1, 32] {
                let prefill =
                    if batch == 1 { vec![Options::default_prefill(&model, model.context as u32)[0]] } else { vec![] };
                let options = Options { batch, prefill, ..Options::for_model(&model) };
                // Some models do not fit a card's DRAM with all users' caches.
                let Ok(compiled) = compile(&model, &target, &options) else { continue };
                for phase in &compiled.plan.phases {
                    for step in phase.steps() {
                        let dram = step.cost.dram_bytes as f64 / (target.cost.dram_gb_per_s * 1000.0);
                        let fpu = step.cost.fpu_cycles as f64 / (target.cost.clock_ghz * 1000.0);
                        let least = dram.max(fpu);
                        let place = format!("{} on {}, batch {batch}, {}", model.name, target.card.name, phase.kind);
                        assert!(
                            step.cost.us + 1e-3 >= least,
                            "{place}: {} takes {:?}, least {least}",
                            step.name,
                            step.cost
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_longer_position_never_makes_a_step_cheaper() {
    for target in ["n150", "p150"].map(|t| Target::find(t).unwrap()) {
        for batch in [1, 32] {
            let at = |position| plan("bitnet-2b-4t", &target, |o| (o.batch, o.position) = (batch, Some(position)));
            let times = [0, 100, 256, 600, 4000].map(|p| at(p).phases[0].cost.device_us);
            assert!(times.is_sorted(), "{} batch {batch}: {times:?}", target.card.name);
        }
    }
}

#[test]
fn attention_gets_most_of_the_card() {
    let target = Target::find("n150").unwrap();
    for batch in [1, 8] {
        let plan = plan("bitnet-2b-4t", &target, |o| o.batch = batch);
        let mut attention = plan.phases[0].steps().filter_map(|s| {
            let Op::SdpaDecode(args) = &s.op else { return None };
            Some(args.program.grid)
        });
        let (x, y) = attention.next().unwrap();
        assert!(x * y >= 40, "batch {batch}: {x}x{y}");
    }
    assert!(Price { idle: 4, ..Price::default() } < Price { idle: 24, ..Price::default() });
}
