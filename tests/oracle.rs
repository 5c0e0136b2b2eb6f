//! The op rules against the real TT-NN: a part of `bitnetc ttnn oracle`. `bitnetc ttnn setup` makes what these tests need.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::BTreeMap;
use std::process::{Command, Output};

use serde_json::Value as Json;

fn oracle(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bitnetc"))
        .args(["ttnn", "oracle"])
        .args(args)
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

/// The reports of a run, which ends with an error when a rule calls legal what TT-NN refuses, or when too few draws agree.
fn reports(args: &[&str]) -> Vec<Json> {
    let out = oracle(args);
    let (text, error) = (String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap());
    assert!(out.status.success(), "{text}{error}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn sum(reports: &[Json], field: &str) -> u64 {
    reports.iter().map(|r| r[field].as_u64().unwrap()).sum()
}

#[test]
fn rules_and_ttnn_agree() {
    let mut legal: BTreeMap<String, u64> = BTreeMap::new();
    for (target, seed) in [("n150", "11"), ("p150", "12")] {
        let reports = reports(&["--target", target, "--draws", "400", "--seed", seed, "--json"]);
        assert!(reports.len() > 25, "{} rules", reports.len());
        let (accepted, refused) = (sum(&reports, "both_accept"), sum(&reports, "both_refuse"));
        // Both answers are asked for often enough to mean something.
        assert!(accepted > 200 && refused > 50, "{target}: {accepted} accepted, {refused} refused");
        for report in &reports {
            *legal.entry(report["rule"].to_string()).or_default() += report["both_accept"].as_u64().unwrap();
        }
    }
    // Some rules take calls on one of the two chips alone.
    for (rule, accepted) in legal {
        assert!(accepted > 0, "{rule} was never legal");
    }
}

#[test]
fn the_same_seed_asks_the_same() {
    let drawn = |seed| reports(&["--rule", "rms_norm", "--draws", "40", "--seed", seed, "--json"]);
    let first = drawn("5");
    assert_eq!(first.len(), 2);
    assert_eq!(first, drawn("5"));
    assert_ne!(first, drawn("6"));
}

#[test]
fn what_a_rule_leaves_out_is_listed_with_what_it_takes() {
    let out = oracle(&["--rule", "transpose", "--draws", "20", "--seed", "5"]);
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{text}");
    let (_, reasons) = text.split_once("left out on purpose").unwrap();
    assert!(reasons.contains("a tiled, interleaved tensor"), "{text}");
}

#[test]
fn a_rule_that_does_not_exist_is_told() {
    let out = oracle(&["--rule", "conv2d"]);
    assert_eq!(out.status.code(), Some(1));
    let error = String::from_utf8(out.stderr).unwrap();
    assert!(error.contains("conv2d") && error.contains("embedding"), "{error}");
}

/// On the release that the rules are of, nothing drifted.
#[test]
fn any_release_will_do_for_the_oracle() {
    let out = oracle(&["--any-release", "--rule", "reshape", "--draws", "20", "--seed", "5"]);
    let (text, error) = (String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap());
    assert!(out.status.success(), "{text}{error}");
    assert!(error.contains("none of 3 rules") && !error.contains("does not record programs"), "{error}");
}
