//! Misuse: one clear error, its exit code, and no file left behind.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::path::Path;
use std::process::Command;

use common::{bitnetc, refused, stdout};

#[test]
fn a_model_that_is_not_there() {
    let error = refused(&["plan", "bitnet-2b"], 1);
    assert!(error.contains("no model `bitnet-2b`") && error.contains("shipped models: bitnet-2b-4t,"), "{error}");
    let error = refused(&["plan", "missing/model.ron"], 1);
    assert!(error.contains("cannot read model missing/model.ron"), "{error}");
}

#[test]
fn options_out_of_range() {
    let error = refused(&["plan", "bitnet-2b-4t", "--batch", "33"], 1);
    assert!(error.contains("batch is 33; expected 1 to 32 users"), "{error}");
    let error = refused(&["plan", "bitnet-2b-4t", "--context", "100"], 1);
    assert!(error.contains("context is 100; expected a multiple of 64"), "{error}");
    let error = refused(&["plan", "bitnet-2b-4t", "--prefill", "100"], 1);
    assert!(error.contains("prefill is 100; expected multiples of 32"), "{error}");
    let error = refused(&["plan", "bitnet-2b-4t", "--target", "n151"], 1);
    assert!(error.contains("no target `n151`: shipped are n150, n300, p100, p150"), "{error}");
}

#[test]
fn misuse_of_the_command_line_is_code_2() {
    for (args, part) in [
        (vec!["plan"], "<MODEL>"),
        (vec!["plan", "bitnet-2b-4t", "--policy", "best"], "there are balanced, exact and fast"),
        (vec!["plan", "bitnet-2b-4t", "--set", "downs=bfp4"], "no role `downs`"),
        (vec!["plan", "bitnet-2b-4t", "--prefill", "12x"], "`12x` is no number of tokens"),
        (vec!["plans"], "unrecognized subcommand"),
    ] {
        let error = refused(&args, 2);
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_model_that_does_not_fit_the_card_says_by_how_much() {
    let error = refused(&["plan", "llama3-8b-1.58", "--batch", "32"], 1);
    assert!(error.contains("fullest DRAM bank") && error.contains("n150 has"), "{error}");
}

#[test]
fn a_refused_plan_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.ron");
    refused(&["plan", "bitnet-2b-4t", "--batch", "0", "-o", path.to_str().unwrap()], 1);
    let unwritable = folder.path().join("no/such/folder/plan.ron");
    refused(&["plan", "tiny-shakespeare", "-o", unwritable.to_str().unwrap()], 1);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_hyphen_is_stdout_and_stdin() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.ron");
    let text = path.to_str().unwrap();
    assert!(bitnetc(&["plan", "tiny-shakespeare", "-o", text]).status.success());
    let written = bitnetc(&["plan", "tiny-shakespeare", "-o", "-"]);
    assert_eq!(written.stdout, std::fs::read(&path).unwrap());
    assert!(bitnetc(&["plan", "tiny-shakespeare", "-o", text, "--trace-search", "-"]).stdout.starts_with(b"{"));
    assert_eq!(bitnetc(&["emit", text, "-o", "-"]).stdout, bitnetc(&["emit", text]).stdout);
    let mut inspect = Command::new(env!("CARGO_BIN_EXE_bitnetc"));
    let inspect = inspect.args(["inspect", "-"]).stdin(std::fs::File::open(&path).unwrap()).output().unwrap();
    assert_eq!(inspect.stdout, bitnetc(&["inspect", text]).stdout);
    assert!(!Path::new("-").exists() && !inspect.stdout.is_empty());
}

#[test]
fn what_is_no_file_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (plan, link) = (folder.path().join("plan.ron"), folder.path().join("link.py"));
    let at = |path: &Path| path.to_str().unwrap().to_owned();
    assert!(bitnetc(&["plan", "tiny-shakespeare", "-o", &at(&plan)]).status.success());
    std::os::unix::fs::symlink("program.py", &link).unwrap();
    assert!(bitnetc(&["emit", &at(&plan), "-o", &at(&link)]).status.success());
    assert!(link.is_symlink() && folder.path().join("program.py").is_file());
    let error = refused(&["emit", &at(&plan), "-o", &at(folder.path())], 1);
    assert!(error.contains("cannot write") && error.contains("is a directory"), "{error}");
}

#[test]
fn damaged_plans() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.plan");
    let text = path.to_str().unwrap();
    assert!(bitnetc(&["plan", "tiny-shakespeare", "-o", text]).status.success());
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let error = refused(&["check", text], 1);
    assert!(error.contains("damaged") || error.contains("checksum"), "{error}");
    std::fs::write(&path, &bytes[..middle]).unwrap();
    refused(&["check", text], 1);
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    refused(&["inspect", here.to_str().unwrap()], 1);
}

#[test]
fn the_matrix_knows_its_models_and_targets() {
    let error = refused(&["matrix", "--quick", "--model", "bitnet-2b"], 1);
    assert!(error.contains("no shipped model `bitnet-2b`") && error.contains("bitnet-2b-4t,"), "{error}");
    let error = refused(&["matrix", "--quick", "--target", "n151"], 1);
    assert!(error.contains("no target `n151`"), "{error}");
}

/// A plan of the small model with another norm, and the model's file.
fn edited(folder: &Path) -> [String; 2] {
    let shipped = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("graphs/tiny-shakespeare.ron"));
    let [plan, model] = ["edited.plan", "edited.ron"].map(|name| folder.join(name).to_str().unwrap().to_string());
    std::fs::write(&model, shipped.unwrap().replace("eps: 1e-5", "eps: 1e-2")).unwrap();
    stdout(&["plan", &model, "--prefill", "32", "-o", &plan]);
    [plan, model]
}

#[test]
fn a_plan_is_judged_by_its_own_model() {
    let folder = tempfile::tempdir().unwrap();
    let [plan, model] = edited(folder.path());
    let tokens = folder.path().join("tokens.json");
    std::fs::write(&tokens, "[[5, 6, 7, 8]]").unwrap();
    let eval = ["eval", &plan, "--tokens", tokens.to_str().unwrap(), "--against", "reference"];
    let error = refused(&eval, 1);
    assert!(error.contains("is no shipped one, or another version of it") && error.contains("--model"), "{error}");
    let error = refused(&[&eval[..], &["--model", "tiny-shakespeare"]].concat(), 1);
    assert!(error.contains("`tiny-shakespeare` is not the plan's model"), "{error}");
    let text = stdout(&[&eval[..], &["--model", &model]].concat());
    assert!(text.contains("against the f32 reference: logits PCC 0.99"), "{text}");
}

#[test]
fn choices_beside_a_plan_that_has_made_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let [plan, _] = edited(folder.path());
    let error = refused(&["run", &plan, "--prompt", "x", "--policy", "exact", "--batch", "1"], 1);
    assert!(error.contains("is a plan already: --batch, --policy would change nothing"), "{error}");
    stdout(&["run", &plan, "--prompt", "x", "--tokens", "1"]);
    let text = folder.path().join("text");
    std::fs::write(&text, "To be, or not to be").unwrap();
    let compare = ["compare", "--text", text.to_str().unwrap()];
    let error = refused(&[&compare[..], &["--policy", "balanced"]].concat(), 1);
    assert!(error.contains("the table has every policy"), "{error}");
    let error = refused(&[&compare[..], &[&plan]].concat(), 1);
    assert!(error.contains("is a plan, which has one policy"), "{error}");
    let error = refused(&["bench", &plan, "--runs", "0"], 2);
    assert!(error.contains("--runs"), "{error}");
}
