//! `bitnetc diff`, as a person or a tool sees it.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::path::Path;

use common::{bitnetc, stdout};
use serde_json::Value;

fn plan(folder: &Path, name: &str, options: &[&str]) -> String {
    let path = folder.join(name).to_str().unwrap().to_owned();
    stdout(&[&["plan", "tiny-shakespeare", "-o", &path], options].concat());
    path
}

/// What `diff` prints of plans that differ.
fn differ(args: &[&str]) -> String {
    let out = bitnetc(args);
    assert_eq!(out.status.code(), Some(1), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(out.stderr.is_empty());
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn plans_that_are_alike_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let (text, compact) = (plan(folder.path(), "a.ron", &[]), plan(folder.path(), "a.plan", &[]));
    assert_eq!(stdout(&["diff", &text, &compact]), "the plans are alike\n");
}

#[test]
fn a_decision_is_shown_with_its_effect() {
    let folder = tempfile::tempdir().unwrap();
    let a = plan(folder.path(), "a.ron", &[]);
    let b = plan(folder.path(), "b.ron", &["--set", "lm_head=bfp4/HiFi2"]);
    let text = differ(&["diff", &a, &b]);
    assert!(text.contains("options.overrides  []     [lm_head=bfp4/HiFi2]"), "{text}");
    let document: Value = serde_json::from_str(&differ(&["diff", &a, &b, "--json"])).unwrap();
    let decode = &document["phases"][0];
    assert_eq!(decode["phase"], "decode");
    let names: Vec<_> = decode["steps"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert!(names.iter().all(|name| name.starts_with("logits")) && !names.is_empty(), "{names:?}");
    let head = &document["weights"].as_array().unwrap()[0];
    assert_eq!((&head["name"], &head["changes"][0]["b"]), (&"lm_head.0".into(), &"bfp4".into()), "{head}");
    // The head's matrix is smaller, so the card moves less and holds less.
    let smaller = |pair: &Value| pair[1].as_u64().unwrap() < pair[0].as_u64().unwrap();
    assert!(smaller(&decode["dram_bytes"]) && smaller(&document["dram_bytes"]), "{document}");
}

#[test]
fn phases_and_steps_of_one_plan_only_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let a = plan(folder.path(), "a.ron", &["--prefill", "64"]);
    let b = plan(folder.path(), "b.ron", &["--prefill", "128", "--policy", "exact", "--batch", "4"]);
    let document: Value = serde_json::from_str(&differ(&["diff", &a, &b, "--json"])).unwrap();
    let phases: Vec<_> = document["phases"].as_array().unwrap().iter().map(|p| p["phase"].as_str().unwrap()).collect();
    assert_eq!(phases, ["decode", "prefill 64", "prefill 128"]);
    assert!(document["phases"][1]["predicted_us"][1].is_null());
    let steps = document["phases"][0]["steps"].as_array().unwrap();
    assert!(steps.iter().any(|s| s["in_first"] == false && s["in_second"] == true));
    assert_eq!(document["phases"][0]["changes"].as_array().unwrap().len(), 0);
}
