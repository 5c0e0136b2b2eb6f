//! The host device with exact numerics against TT-NN's own kernels: whole models, equal in every bit.
//!
//! What the kernels computed was recorded on Tenstorrent's functional simulator; single ops are compared in `runtime/numerics`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::sync::atomic::AtomicBool;

use bitnetc_compiler::policy::Policy;
use bitnetc_compiler::target::Target;
use bitnetc_compiler::{Options, compile, model};
use bitnetc_plan::VerifiedPlan;
use bitnetc_runtime::host::Numerics;
use bitnetc_runtime::{Flow, GenerateOptions, HostDevice, LoadOptions, Sampling, Session, Weights, generate};
use common::golden::directory;
use safetensors::SafeTensors;

fn plan(target: &str, policy: Policy) -> VerifiedPlan {
    let model = model::find("tiny-shakespeare").unwrap().model().unwrap();
    let mut options = Options::for_model(&model);
    (options.policy, options.batch, options.prefill) = (policy, 1, vec![128]);
    compile(&model, &Target::find(target).unwrap(), &options).unwrap().plan
}

fn load(target: &str, policy: Policy, numerics: Numerics) -> Session<HostDevice> {
    let plan = plan(target, policy);
    let device = HostDevice::new(plan.card.arch, numerics);
    let weights = Weights::open(&directory()).unwrap();
    Session::load(plan, &weights, device, &LoadOptions::default(), |_, _| {}).unwrap()
}

const PROMPT: [u32; 24] =
    [457, 910, 27, 200, 759, 13, 733, 449, 84, 13, 269, 265, 264, 406, 302, 415, 747, 328, 847, 13, 200, 327, 333, 413];

/// Tokens of the prompt that are decoded one by one.
const DECODED: usize = 6;

#[test]
fn logits_are_those_of_the_kernels() {
    let bytes = include_bytes!("kernel_logits.safetensors");
    let recorded = SafeTensors::deserialize(bytes).unwrap();
    let all = ["n150", "p150"].into_iter().flat_map(|target| [Policy::Balanced, Policy::Exact].map(|p| (target, p)));
    for (target, policy) in all {
        let want = |phase: &str| -> Vec<f32> {
            let tensor = recorded.tensor(&format!("{target}.{policy}.{phase}")).unwrap();
            tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
        };
        let mut session = load(target, policy, Numerics::Exact);
        let mut logits = Vec::new();
        session.prefill(0, &PROMPT).unwrap();
        session.logits(&mut logits).unwrap();
        let vocab = want("prefill").len();
        let row = &logits[(PROMPT.len() - 1) * vocab..PROMPT.len() * vocab];
        assert_eq!(differing(row, &want("prefill")), 0, "{target} {policy} prefill");
        for (position, token) in PROMPT[..DECODED].iter().enumerate() {
            session.set_users(&[*token], &[position as u32]).unwrap();
            session.decode().unwrap();
        }
        session.logits(&mut logits).unwrap();
        assert_eq!(differing(&logits[..vocab], &want("decode")), 0, "{target} {policy} decode");
    }
}

fn differing(a: &[f32], b: &[f32]) -> usize {
    a.iter().zip(b).filter(|(a, b)| a != b).count()
}

/// Two tokens are nearly as likely after this prompt: the formula of attention chooses one of them, the kernels' approximate exp the other.
#[test]
fn a_close_choice_falls_as_on_the_kernels() {
    let interrupted = AtomicBool::new(false);
    let options =
        GenerateOptions { max_tokens: 7, sampling: Sampling::GREEDY, stop_tokens: &[1], interrupted: &interrupted };
    let write = |numerics| {
        let mut session = load("n150", Policy::Balanced, numerics);
        let texts = generate(&mut session, &[vec![836, 27, 200, 48, 308]], &options, |_, _| Flow::Continue).unwrap();
        texts[0].tokens.clone()
    };
    assert_eq!(write(Numerics::Exact), [633, 328, 273, 839, 302, 265, 80]);
    assert_ne!(write(Numerics::Fast), write(Numerics::Exact));
}
