//! Plans of the small trained model, run and measured from the command line.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use common::golden::{directory, read};
use common::{refused, stdout};
use safetensors::SafeTensors;

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn lists(folder: &Path) -> PathBuf {
    let file = folder.join("lists.json");
    std::fs::write(&file, "[[5, 6, 7, 8, 9, 10, 11, 12], [200, 100, 50], [31, 32, 33, 34, 35]]").unwrap();
    file
}

/// Correlation with the reference, as `eval` prints it.
fn pcc(report: &str) -> f64 {
    let (_, rest) = report.split_once("logits PCC ").unwrap();
    rest.split_once(',').unwrap().0.parse().unwrap()
}

#[test]
fn what_import_writes_is_planned_run_and_judged() {
    let folder = tempfile::tempdir().unwrap();
    let (model, weights, lists) = (folder.path().join("model.ron"), directory(), lists(folder.path()));
    stdout(&["import", path(&weights), "-o", path(&model)]);
    let run = |model: &str| {
        stdout(&["run", model, "--weights", path(&weights), "--prompt", "ROMEO:", "--tokens", "4", "--quiet"])
    };
    assert_eq!(run(path(&model)), run("tiny-shakespeare"));
    let report = stdout(&[
        "eval",
        path(&model),
        "--weights",
        path(&weights),
        "--tokens",
        path(&lists),
        "--against",
        "reference",
    ]);
    assert!(report.starts_with("13 tokens predicted in 3 windows") && pcc(&report) > 0.999, "{report}");
}

#[test]
fn decode_is_measured_by_itself_and_together() {
    let folder = tempfile::tempdir().unwrap();
    let lists = lists(folder.path());
    let eval = |more: &[&str]| {
        let args = ["eval", "--policy", "exact", "--tokens", path(&lists), "--against", "reference"];
        stdout(&[&args[..], more].concat())
    };
    let [prefill, decode, together] = [
        eval(&["--prefill", "32"]),
        eval(&["--prefill", "none", "--phase", "decode"]),
        eval(&["--prefill", "none", "--phase", "decode", "--batch", "2"]),
    ];
    for report in [&prefill, &decode, &together] {
        assert!(pcc(report) > 0.999, "{report}");
        assert!(report.starts_with("13 tokens predicted in 3 windows"), "{report}");
    }
}

#[test]
fn a_checkpoint_without_its_head_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = read("model.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let rest: HashMap<_, _> = tensors.tensors().into_iter().filter(|(name, _)| name != "lm_head.weight").collect();
    safetensors::serialize_to_file(rest, None, &folder.path().join("model.safetensors")).unwrap();
    std::fs::copy(directory().join("tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    let error = refused(&["run", "tiny-shakespeare", "--weights", path(folder.path()), "--prompt", "x"], 1);
    assert!(error.contains("`lm_head.weight` is not in"), "{error}");
}

#[test]
fn lists_that_cannot_be_predicted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lists.json");
    let error = |text: &str, more: &[&str]| {
        std::fs::write(&file, text).unwrap();
        refused(&[&["eval", "--tokens", path(&file)], more].concat(), 1)
    };
    assert!(error("[[1, 2], [3, 1024]]", &[]).contains("list 1 has token 1024; the vocabulary has 1024"));
    assert!(error("[[1], []]", &[]).contains("list 1 is empty"));
    assert!(error("{\"tokens\": [[1, \"a\"]]}", &[]).contains("line 1 column 19"));
    let long = format!("[[1], {:?}]", vec![5; 300]);
    assert!(error(&long, &[]).contains("window 1 has 300 tokens; the plan's context holds 256"));
    let long = format!("[{:?}]", vec![5; 200]);
    assert!(error(&long, &[]).contains("largest prefill phase holds 128"));
    assert!(error("[[1]]", &["--prefill", "none"]).contains("no prefill phase"));
}
