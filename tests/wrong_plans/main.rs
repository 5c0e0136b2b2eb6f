//! Plans that compute something else than their model: each is refused, by verification alone and with the model, and the step is told.
//!
//! [`mutants_that_change_logits_are_refused`] changes sound plans of a small model at random, once or twice, and looks at what TT-NN would
//! take: plans that keep every other invariant. The host device decides whether a change changes logits. `BITNETC_MUTANTS` sets how many
//! such plans are looked at, `BITNETC_MUTANT_SEED` which:
//!
//! ```text
//! BITNETC_MUTANTS=10000 BITNETC_MUTANT_SEED=1 cargo test --test wrong_plans mutants -- --nocapture
//! ```
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap fails the test")]

mod cases;
mod mutants;
mod small;

use std::collections::BTreeMap;

use bitnetc_compiler::prove;
use bitnetc_plan::{Plan, VerifiedPlan, verify};
use bitnetc_runtime::Weights;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use mutants::KINDS;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |value| value.parse().unwrap())
}

/// What became of the mutants of one kind.
#[derive(Debug, Default)]
struct Tally {
    /// They change logits and are refused.
    refused: u32,
    /// They change logits, and verification says nothing.
    missed: Vec<u64>,
    /// They change logits, and not even the model helps.
    missed_with_model: Vec<u64>,
    /// They do not change logits and are sound.
    passed: u32,
    /// They do not change logits and are refused.
    refused_harmless: Vec<u64>,
}

/// A mutant that keeps every invariant but perhaps the function: the kinds of its changes, and itself.
fn draw(plans: &[Plan], seed: u64) -> Option<(Vec<usize>, usize, Plan)> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let of = rng.random_range(0..plans.len());
    let mut plan = plans[of].clone();
    let count = if rng.random_bool(0.3) { 2 } else { 1 };
    let kinds: Vec<usize> = (0..count).map(|_| rng.random_range(0..KINDS.len())).collect();
    for kind in &kinds {
        mutants::change(&mut plan, *kind, &mut rng)?;
    }
    let sound = mutants::settle(&mut plan) && VerifiedPlan::of_any_function(plan.clone()).is_ok();
    sound.then_some((kinds, of, plan))
}

#[test]
fn mutants_that_change_logits_are_refused() {
    let model = small::model();
    let plans = small::plans(&model);
    let dir = tempfile::tempdir().unwrap();
    small::checkpoint(&model, dir.path());
    let weights = Weights::open(dir.path()).unwrap();
    let sound: Vec<Vec<u32>> = plans.iter().map(|plan| small::computed(plan.clone(), &weights).unwrap()).collect();
    for plan in &plans {
        verify(plan).unwrap();
        prove(plan, &model).unwrap();
    }
    let (wanted, first) = (number("BITNETC_MUTANTS", 60), number("BITNETC_MUTANT_SEED", 1) << 32);
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    let (mut looked_at, mut seed) = (0, first);
    while looked_at < wanted {
        seed += 1;
        let Some((kinds, of, plan)) = draw(&plans, seed) else { continue };
        looked_at += 1;
        let name = if let [one] = kinds[..] { KINDS[one].to_owned() } else { "two of them".to_owned() };
        let (refused, with_model) = (verify(&plan).is_err(), prove(&plan, &model).is_err());
        let changed = small::computed(plan, &weights) != Ok(sound[of].clone());
        let tally = tallies.entry(name).or_default();
        match (changed, refused) {
            (true, true) => tally.refused += 1,
            (true, false) => tally.missed.push(seed),
            (false, true) => tally.refused_harmless.push(seed),
            (false, false) => tally.passed += 1,
        }
        if changed && !with_model {
            tally.missed_with_model.push(seed);
        }
    }
    println!("{looked_at} mutants of {} drawn", seed - first);
    println!("{:<38}{:>9}{:>9}{:>12}{:>19}{:>9}", "change", "tried", "refused", "no change", "of these refused", "MISSED");
    let (mut missed, mut with_model) = (Vec::new(), Vec::new());
    for (name, tally) in &tallies {
        let harmless = tally.passed as usize + tally.refused_harmless.len();
        let tried = tally.refused as usize + tally.missed.len() + harmless;
        let (refused, strict) = (tally.refused, tally.refused_harmless.len());
        println!("{name:<38}{tried:>9}{refused:>9}{harmless:>12}{strict:>19}{:>9}", tally.missed.len());
        missed.extend(&tally.missed);
        with_model.extend(&tally.missed_with_model);
        if !tally.refused_harmless.is_empty() {
            let some: Vec<_> = tally.refused_harmless.iter().take(5).map(|seed| seed - first).collect();
            println!("    refused though logits stay the same: {some:?} ..");
        }
    }
    let of = |seeds: &[u64]| seeds.iter().map(|seed| seed - first).collect::<Vec<_>>();
    assert!(missed.is_empty(), "verify takes mutants {:?} of seed {}", of(&missed), first >> 32);
    assert!(with_model.is_empty(), "with the model mutants {:?} of seed {} are taken", of(&with_model), first >> 32);
}
