//! The plans of the shipped models: the output of `bitnetc plan` on two cards, as a person sees it.
//!
//! The snapshots hold predictions of the cost model; a change to a target, a rule or a pass shows in them.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use bitnetc_compiler::model::shipped;
use common::{bitnetc, stdout};

/// The plan's summary, everything before the steps; or why TT-NN has no way to run the model on this card.
fn summary(model: &str, target: &str, batch: &str) -> String {
    let args = ["plan", model, "--target", target, "--batch", batch];
    let out = bitnetc(&args);
    if out.status.code() == Some(1) {
        return String::from_utf8(out.stderr).unwrap();
    }
    let text = stdout(&args);
    let end = text.find("\ndecode of ").unwrap();
    text[..end].to_string()
}

#[test]
fn every_shipped_model_on_n150_and_p150() {
    for model in shipped() {
        for target in ["n150", "p150"] {
            insta::assert_snapshot!(format!("{}-{target}", model.name), summary(model.name, target, "1"));
        }
    }
}

#[test]
fn the_whole_decode_layer_of_2b_4t() {
    for (target, batch) in [("n150", "1"), ("n150", "32"), ("p150", "32")] {
        let text = stdout(&["plan", "bitnet-2b-4t", "--target", target, "--batch", batch, "--prefill", "none"]);
        let start = text.find("\ndecode of ").unwrap();
        insta::assert_snapshot!(format!("decode-{target}-{batch}"), &text[start..]);
    }
}

#[test]
fn the_int8_layer_of_2b_4t() {
    let text = stdout(&["plan", "bitnet-2b-4t", "--policy", "exact", "--batch", "32", "--prefill", "none"]);
    let start = text.find("\ndecode of ").unwrap();
    insta::assert_snapshot!("decode-n150-32-exact", &text[start..]);
}

#[test]
fn prefill_of_2b_4t() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.ron");
    let plan = plan.to_str().unwrap();
    stdout(&["plan", "bitnet-2b-4t", "--prefill", "512", "-o", plan]);
    insta::assert_snapshot!("prefill-512-n150", stdout(&["inspect", plan, "--phase", "prefill-512"]));
}

#[test]
fn two_runs_write_the_same_bytes_and_both_formats_hold_the_same_plan() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    for name in ["a.ron", "b.ron", "a.plan", "b.plan"] {
        stdout(&["plan", "bitnet-2b-4t", "--target", "p150", "-o", &path(name)]);
    }
    let bytes = |name: &str| std::fs::read(path(name)).unwrap();
    assert_eq!(bytes("a.ron"), bytes("b.ron"));
    assert_eq!(bytes("a.plan"), bytes("b.plan"));
    let read = |name: &str| bitnetc_plan::format::read(path(name).as_ref()).unwrap();
    assert_eq!(read("a.ron"), read("a.plan"));
    assert_eq!(stdout(&["check", &path("a.plan")]), stdout(&["check", &path("a.ron")]));
}

#[test]
fn every_target_plans_2b_4t_in_at_most_18_programs_a_layer() {
    for target in bitnetc_compiler::target::NAMES {
        for batch in ["1", "8", "32"] {
            let text = summary("bitnet-2b-4t", target, batch);
            let line = text.lines().find(|l| l.starts_with("decode")).unwrap();
            let programs: u32 = line.split_whitespace().nth(2).unwrap().parse().unwrap();
            assert!(programs <= 18, "{target} batch {batch}: {line}");
        }
    }
}
