//! `bitnetc explain` and `bitnetc plan --trace-search`, as a person or a tool sees them.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::path::Path;

use common::{bitnetc, stdout};

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
        "proved, bit-identical: bfp4 holds",
        "proved, same products, fewer roundings: a ternary weight has no low bits",
        "legal ways in all",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    let prefill = stdout(&["explain", &plan, "down", "--phase", "prefill-64"]);
    assert!(prefill.contains("2D on"), "{prefill}");
    let attention = stdout(&["explain", &plan, "attended", "--phase", "prefill-64"]);
    assert!(attention.contains("what its kernels do, as seen on Tenstorrent's simulator"), "{attention}");
    let moved = stdout(&["explain", &plan, "merged.in"]);
    assert!(moved.contains("merged.in moves attended from L1 to L1 HS["), "{moved}");
    assert!(moved.contains("attended cannot leave it in") && moved.contains("Sharded output not supported"), "{moved}");
    for count in ["0", "17"] {
        assert_eq!(bitnetc(&["explain", &plan, "down", "--alternatives", count]).status.code(), Some(2));
    }
    let free = stdout(&["explain", &plan, "ffn_norm.free"]);
    assert!(free.contains("frees `ffn_norm` right after `up`, its last reader"), "{free}");
}

/// The plan remembers which proofs it was lowered by.
#[test]
fn bits_alone_keep_the_fidelity_that_was_asked() {
    let folder = tempfile::tempdir().unwrap();
    let plan = name(folder.path(), "p.plan");
    for (proofs, used, proved) in [("bits", "used bfp4 HiFi2", true), ("none", "used bfp8 HiFi2", false)] {
        stdout(&["plan", "tiny-shakespeare", "-o", &plan, "--prefill", "none", "--proofs", proofs]);
        let text = stdout(&["explain", &plan, "down"]);
        assert!(text.contains(used) && !text.contains("note:"), "{text}");
        assert!(text.contains("proved, bit-identical") == proved && !text.contains("same products"), "{text}");
    }
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
        (vec!["explain", plan.as_str(), "down", "--target", "p150"], "card `n150`, --target p150 is another one"),
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
    let precision = record["phases"][0]["precision"].as_array().unwrap();
    let down = precision.iter().find(|p| p["node"] == "down").unwrap();
    assert_eq!(down["proof"], "same products, fewer roundings");
    assert_eq!(down["proved"][0]["proof"], "bit-identical");
    assert_eq!(down["activation"], serde_json::json!({ "significant_bits": 8, "grid": null }));
}

#[test]
fn levers_of_one_card_have_notes_and_shares_and_of_all_cards_a_column_each() {
    let text = stdout(&["levers", "bitnet-2b-4t", "--target", "n150", "--batch", "32", "--top", "3"]);
    for part in [
        "all projections",
        "precision by proof",
        "argmax on the card",
        "above DRAM",
        "in a prefill of 128 tokens",
        "the band leaves open",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    let all = stdout(&["levers", "tiny-shakespeare"]);
    for case in ["n150 b1", "n150 b32", "p150 b1", "p150 b32"] {
        assert!(all.contains(case), "{all}");
    }
}
