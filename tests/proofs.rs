//! Precision that the precision pass lowered is run on the host device with the numerics of the matrix unit, and must give the same bits
//! where the pass says so.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::path::Path;

use bitnetc_compiler::policy::Policy;
use bitnetc_compiler::target::Target;
use bitnetc_compiler::{Options, compile, model};
use bitnetc_plan::{DType, Fidelity, Op, Plan, Proofs, VerifiedPlan};
use bitnetc_runtime::host::Numerics;
use bitnetc_runtime::{HostDevice, LoadOptions, Session, Weights};

/// The small model with int8 activations, asked for more than its ternary projections need.
fn plan(target: &str, proofs: Proofs) -> VerifiedPlan {
    let model = model::find("tiny-shakespeare").unwrap().model().unwrap();
    let roles = ["qkv", "o", "gate", "up", "down"];
    let overrides = roles.map(|role| format!("{role}=bfp8/HiFi4/fp32").parse().unwrap()).into();
    let options = Options { policy: Policy::Exact, overrides, proofs, prefill: vec![64], ..Options::for_model(&model) };
    compile(&model, &Target::find(target).unwrap(), &options).unwrap().plan
}

/// How a projection of prefill multiplies, and what its weight is stored in.
fn math(plan: &Plan, name: &str) -> (DType, Fidelity) {
    let step = plan.phases[1].steps().find(|s| s.name == name).unwrap();
    let Op::Matmul(matmul) = &step.op else { panic!("{name} is a matmul") };
    (plan.weight(name).unwrap().spec.dtype, matmul.compute.fidelity)
}

fn logits(plan: &VerifiedPlan) -> Vec<u32> {
    let weights = Weights::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("graphs/tiny-shakespeare")).unwrap();
    let device = HostDevice::new(plan.card.arch, Numerics::Exact);
    let mut session = Session::load(plan.clone(), &weights, device, &LoadOptions::default(), |_, _| {}).unwrap();
    let mut all = Vec::new();
    session.prompt_logits(0, &[17, 400, 3, 999, 64], |_, _, row| all.extend(row.iter().map(|v| v.to_bits()))).unwrap();
    session.set_users(&[7], &[5]).unwrap();
    session.decode().unwrap();
    let mut decoded = Vec::new();
    session.logits(&mut decoded).unwrap();
    all.extend(decoded.into_iter().map(f32::to_bits));
    all
}

/// bfp8 and HiFi4 become bfp4 and LoFi, and not one bit of a logit changes, in prefill and in decode. Both plans put their norms on as many
/// cores, which decides the order of a norm's sums.
#[test]
fn integers_keep_every_bit_of_every_logit() {
    for target in ["n150", "p150"] {
        let asked = plan(target, Proofs::None);
        assert_eq!(math(&asked, "down"), (DType::Bfp8, Fidelity::HiFi4));
        let lowered = plan(target, Proofs::Bits);
        assert_eq!(math(&lowered, "down"), (DType::Bfp4, Fidelity::LoFi));
        let expected = logits(&asked);
        assert!(expected.iter().any(|bits| f32::from_bits(*bits) != 0.0));
        assert!(logits(&lowered) == expected, "{target}");
    }
}
