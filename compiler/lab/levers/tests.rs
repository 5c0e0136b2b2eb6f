//! Invariants of the tables: sums that must hold, and the evidence that a figure must name.

use std::sync::LazyLock;

use super::*;
use bitnetc_compiler::model::find;

fn of(target: &str, batch: u32) -> Levers {
    let model = find("bitnet-2b-4t").unwrap().model().unwrap();
    let mut options = Options::for_model(&model);
    options.batch = batch;
    levers(&model, &Target::find(target).unwrap(), &options).unwrap()
}

static WORMHOLE: LazyLock<Levers> = LazyLock::new(|| of("n150", 32));
static BLACKHOLE: LazyLock<Levers> = LazyLock::new(|| of("p150", 1));

#[test]
fn the_floor_is_the_published_one() {
    let fast = WORMHOLE.distances.iter().find(|d| d.policy == Policy::Fast).unwrap();
    assert!((fast.floor_us / 1000.0 - 5.28).abs() < 0.03, "{} us", fast.floor_us);
    assert!(fast.us.as_ref().unwrap().0 > fast.floor_us);
}

#[test]
fn every_lever_but_the_trace_has_a_figure_and_proofs_never_cost() {
    for found in [&*WORMHOLE, &*BLACKHOLE] {
        for lever in found.levers.iter().chain([&found.prefill]) {
            assert_eq!(lever.us.is_err(), lever.name == "trace", "{lever:?}");
        }
        let proofs = found.levers.iter().find(|l| l.name == "precision by proof").unwrap();
        assert!(proofs.saved_us().unwrap() >= 0.0);
        assert!(found.prefill.saved_us().unwrap() > 0.0);
    }
}

#[test]
fn a_saving_lies_in_its_band_and_the_same_schedule_has_none() {
    for found in [&*WORMHOLE, &*BLACKHOLE] {
        for lever in found.levers.iter().chain([&found.prefill]) {
            let Some(saved) = lever.saved_us() else { continue };
            let (least, most) = lever.band_us;
            assert!(least <= saved && saved <= most, "{lever:?}");
        }
        let lever = |name: &str, to: &str| found.levers.iter().find(|l| l.name == name && l.positions.1 == to).unwrap();
        assert_eq!(lever("policy", "fast").band_us, (0.0, 0.0));
        assert!(!lever("policy", "fast").is_open());
        // Halving the bytes of the weights is faster whatever the constants are.
        assert!(!lever("weights of layers, LoFi", "bfp4").is_open());
    }
    // Less multiplying may be hidden by reading.
    let fidelity = WORMHOLE.levers.iter().find(|l| l.positions == ("HiFi2".into(), "LoFi".into())).unwrap();
    assert!(fidelity.is_open(), "{fidelity:?}");
}

#[test]
fn shares_add_up_to_the_step() {
    for found in [&*WORMHOLE, &*BLACKHOLE] {
        let sum: f64 = found.shares.iter().map(Share::us).sum();
        let balanced = found.distances.iter().find(|d| d.policy == found.policy).unwrap();
        let device = balanced.us.as_ref().unwrap().0;
        assert!((sum - device).abs() < 1.0, "{sum} {device}");
    }
}

#[test]
fn what_was_measured_on_another_card_says_so() {
    let how = |found: &Levers, lever: &str| found.levers.iter().find(|l| l.name == lever).unwrap().how.to_string();
    assert!(how(&WORMHOLE, "norms").contains("measured on p150"));
    assert_eq!(how(&BLACKHOLE, "norms"), "priced");
    assert_eq!(how(&WORMHOLE, "second queue"), "priced");
    assert_eq!(how(&WORMHOLE, "token"), "priced");
    assert_eq!(how(&BLACKHOLE, "token"), "extrapolated, argmax was measured on n150");
}
