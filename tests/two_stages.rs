//! The next token found by groups of logits: the same tokens as by one search over all of them, and the larger model's plan at 32 users.

#![allow(clippy::unwrap_used)]

mod common;

use bitnetc_compiler::target::Target;
use bitnetc_compiler::{Options, compile, model};
use bitnetc_plan::{Op, VerifiedPlan};
use bitnetc_runtime::host::Numerics;
use bitnetc_runtime::{HostDevice, LoadOptions, Session, Weights};
use common::golden::{directory, golden};

fn plan(name: &str, target: &Target, batch: u32) -> VerifiedPlan {
    let model = model::find(name).unwrap().model().unwrap();
    let options = Options { batch, prefill: vec![], ..Options::for_model(&model) };
    compile(&model, target, &options).unwrap().plan
}

fn by_groups(plan: &VerifiedPlan) -> bool {
    plan.phases[0].steps().any(|step| matches!(step.op, Op::GatherRows(_)))
}

/// The tokens of each user in each of some steps.
fn tokens(plan: VerifiedPlan, steps: usize) -> Vec<Vec<u32>> {
    let batch = plan.options.batch as usize;
    let device = HostDevice::new(plan.card.arch, Numerics::Fast);
    let weights = Weights::open(&directory()).unwrap();
    let mut session = Session::load(plan, &weights, device, &LoadOptions::default(), |_, _| {}).unwrap();
    let prompt = &golden()[0].0;
    let first: Vec<u32> = (0..batch).map(|user| prompt[user % prompt.len()]).collect();
    session.set_users(&first, &vec![0; batch]).unwrap();
    let mut all = Vec::new();
    for _ in 0..steps {
        session.decode().unwrap();
        let mut chosen = Vec::new();
        session.tokens(&mut chosen).unwrap();
        all.push(chosen);
    }
    all
}

#[test]
fn groups_give_the_tokens_of_one_search() {
    let usual = Target::find("n150").unwrap();
    // Where comparing what many cores have found takes long, fewer columns at a time are searched.
    let mut slow = usual.clone();
    slow.cost.argmax.merge_ns *= 1e4;
    for batch in [1, 5] {
        let [one, grouped] = [&usual, &slow].map(|target| plan("tiny-shakespeare", target, batch));
        assert!(!by_groups(&one) && by_groups(&grouped), "batch {batch}");
        assert_eq!(tokens(one, 12), tokens(grouped, 12), "batch {batch}");
    }
}

#[test]
fn many_users_of_a_large_vocabulary_take_groups_and_one_does_not() {
    for target in ["n150", "p150"].map(|name| Target::find(name).unwrap()) {
        assert!(by_groups(&plan("bitnet-2b-4t", &target, 32)), "{}", target.card.name);
        assert!(!by_groups(&plan("bitnet-2b-4t", &target, 1)), "{}", target.card.name);
    }
}
