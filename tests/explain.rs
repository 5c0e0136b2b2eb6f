//! `bitnetc explain` and `bitnetc plan --trace-search`, as a person or a tool sees them.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::path::Path;
use std::process::{Command, Output};

fn bitnetc(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bitnetc")).args(args).env("NO_COLOR", "1").output().unwrap()
}

fn stdout(args: &[&str]) -> String {
    let out = bitnetc(args);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn name(folder: &Path, file: &str) -> String {
    folder.join(file).to_str().unwrap().to_string()
}

#[test]
fn a_step_is_explained_from_the_plan_alone() {
    let folder = tempfile::tempdir().unwrap();
    let plan = name(folder.path(), "p.plan");
    let asked = ["--batch", "4", "--prefill", "64", "--set", "down=bfp8/HiFi2", "--at-position", "100"];
    stdout(&[&["plan", "tiny-shakespeare", "-o", &plan], &asked[..]].concat());
    let text = stdout(&["explain", &plan, "down"]);
    assert!(!text.contains("note:"), "the plan comes out the same:\n{text}");
    for part in [
        "chosen: DRAM-sharded",
        "asked bfp8 HiFi2, bf16 sums; used bfp4 LoFi",
        "proved: bfp4 holds",
        "legal ways in all",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    let prefill = stdout(&["explain", &plan, "down", "--phase", "prefill-64"]);
    assert!(prefill.contains("2D on"), "{prefill}");
    let free = stdout(&["explain", &plan, "ffn_norm.free"]);
    assert!(free.contains("frees `ffn_norm` right after `up`, its last reader"), "{free}");
}

#[test]
fn a_plan_changed_by_hand_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let plan = name(folder.path(), "p.ron");
    stdout(&["plan", "tiny-shakespeare", "--prefill", "none", "-o", &plan]);
    let text = std::fs::read_to_string(&plan).unwrap();
    assert!(text.contains("fidelity: LoFi"));
    std::fs::write(&plan, text.replacen("fidelity: LoFi", "fidelity: HiFi2", 1)).unwrap();
    let text = stdout(&["explain", &plan, "down"]);
    assert!(text.starts_with("note: compiled again, the plan comes out otherwise (decode: calls)"), "{text}");
}

#[test]
fn what_cannot_be_explained_is_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let plan = name(folder.path(), "p.ron");
    stdout(&["plan", "tiny-shakespeare", "--prefill", "none", "-o", &plan]);
    for (args, part) in [
        (vec!["explain", plan.as_str(), "downs"], "did you mean `down`"),
        (vec!["explain", plan.as_str(), "down", "--phase", "prefill"], "the plan has no such phase"),
        (vec!["explain", plan.as_str(), "down", "--model", "bitnet-2b-4t"], "is not the plan's model"),
        (vec!["explain", plan.as_str(), "down", "--target", "n151"], "no target `n151`"),
    ] {
        let out = bitnetc(&args);
        let error = String::from_utf8_lossy(&out.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(out.status.code(), Some(1), "{args:?}");
        assert!(error.replace("│ ", "").contains(part), "{args:?}: {error}");
    }
}

#[test]
fn the_record_of_the_search_is_json_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = |file: &str| name(folder.path(), file);
    stdout(&["plan", "tiny-shakespeare", "-o", &path("a.ron")]);
    stdout(&["plan", "tiny-shakespeare", "-o", &path("b.ron"), "--trace-search", &path("s.json")]);
    assert_eq!(std::fs::read(path("a.ron")).unwrap(), std::fs::read(path("b.ron")).unwrap());
    let record: serde_json::Value = serde_json::from_slice(&std::fs::read(path("s.json")).unwrap()).unwrap();
    let calls = record["phases"][0]["calls"].as_array().unwrap();
    let down = calls.iter().find(|c| c["call"] == "down").unwrap();
    let chosen = down["chosen"].as_u64().unwrap() as usize;
    assert!(down["candidates"][chosen]["predicted_us"].as_f64().unwrap() > 0.0);
    assert!(down["rejections"].as_array().unwrap().iter().all(|r| !r["breaks"].as_array().unwrap().is_empty()));
}

#[test]
fn levers_stand_beside_the_hand_written_port() {
    let text = stdout(&["levers", "bitnet-2b-4t", "--target", "p150", "--batch", "32", "--top", "3"]);
    for part in [
        "all projections",
        "precision by proof",
        "argmax on the card",
        "above DRAM",
        "measured at 8.5 tokens/s per user",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    let other = stdout(&["levers", "tiny-shakespeare", "--batch", "32"]);
    assert!(!other.contains("hand-written"), "{other}");
}
