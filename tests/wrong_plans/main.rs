//! Plans that compute something else than their model: each is refused, by verification alone and with the model, and the step is told.
//!
//! [`mutants_that_change_logits_are_refused`] changes sound plans of a small model at random, once or twice, and looks at what TT-NN would
//! take: plans that keep every other invariant. The host device decides whether a change changes logits. `BITNETC_MUTANTS` sets how many
//! such plans are looked at, `BITNETC_MUTANT_SEED` which:
//!
//! ```text
//! BITNETC_MUTANTS=10000 BITNETC_MUTANT_SEED=1 cargo test --test wrong_plans mutants -- --nocapture
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed unwrap fails the test")]

mod cases;
mod mutants;
mod small;
mod weights;

use std::collections::BTreeMap;

use bitnetc_compiler::prove;
use bitnetc_plan::{Op, Plan, VerifiedPlan, verify};
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
    /// They do not change logits and are sound.
    passed: u32,
    /// They do not change logits and are refused, for this.
    refused_harmless: Vec<(u64, String)>,
}

/// A mutant that keeps every invariant but perhaps the function: the kinds of its changes, and itself. `None` where none was found.
fn draw(plans: &[Plan], seed: u64) -> Option<(Vec<usize>, usize, Plan)> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let of = rng.random_range(0..plans.len());
    let count = if rng.random_bool(0.3) { 2 } else { 1 };
    let kinds: Vec<usize> = (0..count).map(|_| rng.random_range(0..KINDS.len())).collect();
    for _ in 0..20 {
        let mut plan = plans[of].clone();
        let done = kinds.iter().try_for_each(|kind| mutants::change(&mut plan, *kind, &mut rng));
        if done.is_some() && mutants::settle(&mut plan) && VerifiedPlan::of_any_function(plan.clone()).is_ok() {
            return Some((kinds, of, plan));
        }
    }
    None
}

#[test]
fn mutants_that_change_logits_are_refused() {
    let model = small::model();
    let plans = small::plans(&model);
    let dir = tempfile::tempdir().unwrap();
    small::checkpoint(&model, dir.path());
    let weights = Weights::open(dir.path()).unwrap();
    let sound: Vec<Vec<u32>> = plans.iter().map(|plan| small::computed(plan.clone(), &weights).unwrap()).collect();
    for (plan, sound) in plans.iter().zip(&sound) {
        verify(plan).unwrap();
        prove(plan, &model).unwrap();
        for phase in 0..plan.phases.len() {
            let mut wrong = plan.clone();
            let norms = wrong.phases[phase].layer.iter_mut().filter(|s| matches!(s.op, Op::RmsNorm(_)));
            norms.flat_map(|s| s.op.scalars_mut()).for_each(|epsilon| epsilon.value = 1.0);
            let name = plan.phases[phase].kind;
            assert!(small::computed(wrong, &weights).unwrap() != *sound, "{name} is not executed");
        }
    }
    let (wanted, first) = (number("BITNETC_MUTANTS", 60), number("BITNETC_MUTANT_SEED", 1) << 32);
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    let (mut looked_at, mut seed) = (0, first);
    while looked_at < wanted {
        seed += 1;
        let Some((kinds, of, plan)) = draw(&plans, seed) else { continue };
        looked_at += 1;
        let name = if let [one] = kinds[..] { KINDS[one].to_owned() } else { "two of them".to_owned() };
        let refused = verify(&plan).err().map(|defects| defects[0].to_string());
        let changed = small::computed(plan, &weights) != Ok(sound[of].clone());
        let tally = tallies.entry(name).or_default();
        match (changed, refused) {
            (true, Some(_)) => tally.refused += 1,
            (true, None) => tally.missed.push(seed - first),
            (false, Some(why)) => tally.refused_harmless.push((seed - first, why)),
            (false, None) => tally.passed += 1,
        }
    }
    println!("{looked_at} mutants of {} drawn", seed - first);
    println!(
        "{:<38}{:>9}{:>9}{:>12}{:>19}{:>9}",
        "change", "tried", "refused", "no change", "of these refused", "MISSED"
    );
    let mut missed: Vec<u64> = Vec::new();
    for (name, tally) in &tallies {
        let harmless = tally.passed as usize + tally.refused_harmless.len();
        let tried = tally.refused as usize + tally.missed.len() + harmless;
        let (refused, strict) = (tally.refused, tally.refused_harmless.len());
        println!("{name:<38}{tried:>9}{refused:>9}{harmless:>12}{strict:>19}{:>9}", tally.missed.len());
        missed.extend(&tally.missed);
    }
    println!("refused though the logits that were looked at stay the same:");
    for (name, tally) in &tallies {
        for (seed, why) in tally.refused_harmless.iter().take(3) {
            println!("    {name}, {seed}: {why}");
        }
    }
    assert!(missed.is_empty(), "of seed {} the mutants {missed:?} are taken", first >> 32);
}
