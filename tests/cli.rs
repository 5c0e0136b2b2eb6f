//! Misuse: one clear error, its exit code, and no file left behind.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::path::Path;
use std::process::Command;

use common::{bitnetc, refused};

#[test]
fn a_model_that_is_not_there() {
    let error = refused(&["plan", "bitnet-2b"], 1);
    assert!(error.contains("no model `bitnet-2b`") && error.contains("shipped models: bitnet-2b-4t,"), "{error}");
    for (name, meant) in [("bitnet2b4t", "did you mean `bitnet-2b-4t`"), ("falcon", "did you mean `falcon")] {
        let error = refused(&["plan", name], 1);
        assert!(error.contains(meant), "{error}");
    }
    let checkpoint = concat!(env!("CARGO_MANIFEST_DIR"), "/graphs/tiny-shakespeare");
    let error = refused(&["plan", checkpoint], 1);
    assert!(error.contains("bitnetc import"), "{error}");
    let error = refused(&["plan", "missing/model.ron"], 1);
    assert!(error.contains("cannot read model missing/model.ron"), "{error}");
}

#[test]
fn options_out_of_range() {
    let error = refused(&["plan", "bitnet-2b-4t", "--batch", "33"], 1);
    assert!(error.contains("batch is 33; expected 1 to 32 users"), "{error}");
    let error = refused(&["plan", "bitnet-2b-4t", "--context", "100"], 1);
    assert!(error.contains("context is 100; expected a multiple of 64"), "{error}");
    let error = refused(&["plan", "bitnet-2b-4t", "--at-position", "99999"], 1);
    assert!(error.contains("position is 99999; expected 0 to 4095"), "{error}");
    let error = refused(&["plan", "bitnet-2b-4t", "--prefill", "100"], 1);
    assert!(error.contains("prefill is 100; expected multiples of 32"), "{error}");
    let error = refused(&["plan", "bitnet-2b-4t", "--target", "n151"], 1);
    assert!(error.contains("no target `n151`: shipped are n150, n300, p100, p150"), "{error}");
}

#[test]
fn misuse_of_the_command_line_is_code_2() {
    for (args, part) in [
        (vec!["plan"], "<MODEL>"),
        (vec!["plan", "bitnet-2b-4t", "--policy", "best"], "there are balanced, exact, fast and fastest"),
        (vec!["plan", "bitnet-2b-4t", "--cache", "int8"], "`int8` is no data type of a KV cache: bf16, bfp8, bfp4"),
        (vec!["plan", "bitnet-2b-4t", "--set", "downs=bfp4"], "no role `downs`"),
        (vec!["plan", "bitnet-2b-4t", "--prefill", "12x"], "`12x` is no number of tokens"),
        (vec!["check", "plan.ron", "--numerics"], "--simulator <LIB>"),
        (vec!["check", "plan.ron", "--layers", "1"], "--numerics"),
        (vec!["check", "plan.ron", "--python", "python3"], "<--ttnn|--numerics>"),
        (vec!["plans"], "unrecognized subcommand"),
    ] {
        let error = refused(&args, 2);
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_model_that_does_not_fit_the_card_says_by_how_much() {
    let error = refused(&["plan", "llama3-8b-1.58", "--batch", "32"], 1);
    for part in ["MB of every DRAM bank", "n150 has 1.07 GB, ", "too little", "context 3072 fits", "batch 24 fits"] {
        assert!(error.contains(part), "{part}: {error}");
    }
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
