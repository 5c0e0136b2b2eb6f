//! Plans against the real TT-NN on mock cards. `bitnetc ttnn setup` makes what these tests need.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Output};

use bitnetc_plan::{Plan, Step, format};

fn bitnetc(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bitnetc")).args(args).env("NO_COLOR", "1").output().unwrap()
}

fn done(args: &[&str]) -> String {
    let out = bitnetc(args);
    assert!(
        out.status.success(),
        "{args:?}: {}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap()
}

/// Every shipped model on every target, batch, policy and context in rotation: a part of the whole matrix.
#[test]
fn ttnn_accepts_the_shipped_models_and_agrees_to_the_byte() {
    done(&["matrix", "--quick"]);
}

#[test]
fn every_policy_of_2b_4t_holds_at_full_batch() {
    let folder = tempfile::tempdir().unwrap();
    for policy in ["balanced", "exact", "fast"] {
        let plan = folder.path().join(format!("{policy}.plan"));
        let plan = plan.to_str().unwrap();
        done(&["plan", "bitnet-2b-4t", "--policy", policy, "--batch", "32", "-o", plan]);
        let table = done(&["check", plan, "--ttnn"]);
        assert!(table.contains("prefill 2048"), "{table}");
    }
}

#[test]
fn a_plan_that_ttnn_would_place_elsewhere_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("moved.ron");
    done(&["plan", "tiny-shakespeare", "-o", path.to_str().unwrap()]);
    let mut plan = format::read(&path).unwrap();
    plan.card.name = "n151".into();
    format::write(&path, &plan).unwrap();
    let out = bitnetc(&["check", path.to_str().unwrap(), "--ttnn"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stderr).contains("n151"));
}

/// The steps of one run through a phase, as the emitted program names them.
fn expected(plan: &Plan) -> HashMap<(String, String), &Step> {
    let name = |kind| match kind {
        bitnetc_plan::PhaseKind::Decode { .. } => "decode".to_string(),
        bitnetc_plan::PhaseKind::Prefill { tokens } => format!("prefill_{tokens}"),
    };
    plan.phases.iter().flat_map(|p| p.steps().map(move |s| ((name(p.kind), s.name.clone()), s))).collect()
}

#[test]
fn the_emitted_program_runs_and_says_what_the_plan_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (plan, program, weights) = (path("plan.ron"), path("program.py"), path("weights.bin"));
    done(&["plan", "tiny-shakespeare", "--batch", "2", "-o", &plan]);
    done(&["emit", &plan, "--python", "-o", &program]);
    let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("graphs/tiny-shakespeare");
    done(&["pack", &plan, "--weights", checkpoint.to_str().unwrap(), "-o", &weights]);

    let out = done(&["ttnn", "python", "--target", "n150", &program, "--packed", &weights, "--json"]);

    let plan = format::read(plan.as_ref()).unwrap();
    let expected = expected(&plan);
    let mut lines = 0;
    for line in out.lines().filter(|l| l.starts_with('{')) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| line[key].as_str().unwrap().to_string();
        let step = expected[&(text("phase"), text("step"))];
        let shape: Vec<u32> = serde_json::from_value(line["shape"].clone()).unwrap();
        let value = step.outputs.iter().find(|v| v.spec.shape == shape).unwrap();
        if step.outputs.len() == 1 {
            assert!(value.address.is_none() || value.address == line["address"].as_u64(), "{line}");
        }
        lines += 1;
    }
    let layers = plan.model.layers as usize;
    assert!(lines > 12 * layers, "{lines} lines for {layers} layers");
}
