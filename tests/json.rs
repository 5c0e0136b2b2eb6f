//! What `--json` prints is what its published schema says, and the schemas in docs/schema are those that `bitnetc schema` prints.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::path::Path;

use common::{bitnetc, stdout};
use serde_json::Value;

const KINDS: [&str; 11] =
    ["bench", "calibrate", "check", "diff", "explain", "inspect", "levers", "matrix", "models", "plan", "rules"];

fn published(kind: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema").join(format!("{kind}.json"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The document that a command prints, which its schema must allow.
fn document(args: &[&str]) -> Value {
    let out = bitnetc(args);
    let document: Value = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|error| panic!("{args:?}: {error}: {}", String::from_utf8_lossy(&out.stderr)));
    let validator = jsonschema::validator_for(&serde_json::from_str(&published(args[0])).unwrap()).unwrap();
    let wrong: Vec<String> = validator.iter_errors(&document).map(|e| format!("{} {e}", e.instance_path)).collect();
    assert!(wrong.is_empty(), "{args:?}: {wrong:#?}");
    assert_eq!((&document["format"], &document["kind"]), (&1.into(), &args[0].into()));
    // A document of another kind is none of this one.
    let mut other = document.clone();
    other["kind"] = "other".into();
    assert!(!validator.is_valid(&other));
    document
}

#[test]
fn published_schemas_are_those_that_are_printed() {
    for kind in KINDS {
        // A schema has thousands of lines: what differs is better seen in the file.
        let alike = stdout(&["schema", kind]) == published(kind);
        assert!(alike, "`bitnetc schema {kind} > docs/schema/{kind}.json`");
    }
}

#[test]
fn documents_keep_to_their_schemas() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (a, b, broken) = (path("a.ron"), path("b.ron"), path("broken.ron"));
    let planned = document(&["plan", "tiny-shakespeare", "--prefill", "32", "-o", &a, "--json"]);
    stdout(&["plan", "tiny-shakespeare", "--target", "p150", "--policy", "exact", "--prefill", "none", "-o", &b]);
    let inspected = document(&["inspect", &a, "--json"]);
    assert_eq!(planned["plan"]["phases"], inspected["phases"]);
    let memory = document(&["inspect", &b, "--memory", "--json"]);
    assert!(memory["phases"][0]["steps"][0]["l1"]["live"].is_array());
    document(&["diff", &a, &b, "--json"]);
    assert_eq!(document(&["diff", &a, &a, "--json"])["alike"], true);
    assert_eq!(document(&["check", &a, "--json"])["sound"], true);
    let text = std::fs::read_to_string(&a).unwrap();
    std::fs::write(&broken, text.replacen("in0_block_w: ", "in0_block_w: 7", 1)).unwrap();
    let checked = document(&["check", &broken, "--json"]);
    assert!(checked["sound"] == false && checked["defects"].as_array().is_some_and(|d| !d.is_empty()), "{checked}");
    let explained = document(&["explain", &a, "down", "--json"]);
    assert!(explained["explanation"]["legal"].as_u64() > Some(1));
    let freed = inspected["phases"][0]["steps"].as_array().unwrap();
    let freed = freed.iter().find(|step| step["call"] == "ttnn.deallocate").unwrap()["name"].as_str().unwrap();
    assert!(document(&["explain", &a, freed, "--json"])["frees"].is_string());
    let levers = document(&["levers", "tiny-shakespeare", "--target", "n150", "--batch", "1", "--json"]);
    assert_eq!(levers["cases"].as_array().map(Vec::len), Some(1));
    assert!(!document(&["calibrate", "--target", "p150", "--json"])["calls"].as_array().unwrap().is_empty());
    let rules = document(&["rules", "rms_norm", "--json"]);
    let constraints = rules["constraints"].as_array().unwrap();
    assert!(constraints.iter().any(|c| c["id"] == "rms_norm.gamma_width" && c["by"] == "ttnn"), "{rules}");
    assert_eq!(document(&["models", "--quick", "--json"])["models"][0]["parameters"], 2_412_820_480_u64);
    let measured = document(&["bench", &a, "--steps", "2", "--runs", "1", "--by-call", "--json"]);
    assert!(measured["prefill"]["tokens"] == 32 && measured["trace"].is_null(), "{measured}");
    assert!(!measured["decode"]["calls"].as_array().unwrap().is_empty());
    let csv = path("perf.csv");
    stdout(&["export", &b, "--perf-csv", &csv]);
    let profiled = document(&["calibrate", "--profile", &csv, "--plan", &b, "--json"]);
    assert!(!profiled["profiled"].as_array().unwrap().is_empty());
}

/// In a process for the mock card of TT-NN.
#[test]
fn the_matrix_is_a_document_too() {
    let matrix = document(&["matrix", "--quick", "--target", "n150", "--model", "tiny-shakespeare", "--json"]);
    assert!(matrix["plans"][0]["phases"][0]["agrees"] == true, "{matrix}");
}
