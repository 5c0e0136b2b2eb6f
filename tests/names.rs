//! Names people type: published ids, and files of one kind where another is wanted.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use common::{refused, stdout};

#[test]
fn a_published_name_finds_the_shipped_model() {
    let plan = |name: &str| stdout(&["plan", name, "--prefill", "none", "-o", "-"]);
    assert_eq!(plan("microsoft/bitnet-b1.58-2B-4T"), plan("bitnet-2b-4t"));
    assert_eq!(plan("tiiuae/falcon-e-1b-instruct"), plan("falcon-e-1b"));
    let error = refused(&["plan", "microsoft/bitnet-b1.58-2B-4TT"], 1);
    assert!(error.contains("did you mean `microsoft/bitnet-b1.58-2B-4T`"), "{error}");
}

#[test]
fn models_are_listed_with_what_they_are() {
    let table = stdout(&["models", "--quick"]);
    let row = table.lines().find(|line| line.contains("bitnet-2b-4t")).unwrap();
    for part in ["microsoft/bitnet-b1.58-2B-4T", "2.4 G", "30", "20/5 of 128", "4096", "MIT"] {
        assert!(row.contains(part), "{part}: {row}");
    }
    assert_eq!(table.lines().filter(|line| line.contains('/')).count(), 15, "{table}");
}

#[test]
fn what_is_in_the_wrong_place_is_told_where_it_belongs() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_string()
    };
    let config = file("config.json", b"{}");
    let (gguf, weights) = (file("model.gguf", b"GGUF\x03\0\0\0"), file("x.safetensors", b"\x02\0\0\0\0\0\0\0{}"));
    let (plan, here) = (folder.path().join("p.ron").to_str().unwrap().to_string(), folder.path().to_str().unwrap());
    stdout(&["plan", "tiny-shakespeare", "--prefill", "none", "-o", &plan]);
    for (args, says) in [
        (&["plan", here][..], ["is a checkpoint's folder", "bitnetc import"]),
        (&["plan", &config], ["is a JSON file", "bitnetc import"]),
        (&["plan", &gguf], ["is a GGUF file", "bitnetc import"]),
        (&["plan", &weights], ["is a file of weights", "--weights"]),
        (&["plan", &plan], ["is a plan", "bitnetc inspect"]),
        (&["inspect", "bitnet-2b-4t"], ["is a model", "bitnetc plan bitnet-2b-4t"]),
        (&["check", here], ["is a checkpoint's folder", "bitnetc import"]),
        (&["explain", &gguf, "down"], ["is a GGUF file", "bitnetc import"]),
        (&["run", here, "--prompt", "x"], ["is a checkpoint's folder", "bitnetc import"]),
        (&["run", &config, "--prompt", "x"], ["is a JSON file", "bitnetc import"]),
        (&["run", "--prompt", "x", "--weights", &weights], ["is a file of weights", "give its folder"]),
        (&["run", "--prompt", "x", "--weights", &plan], ["is a plan", "not a folder of weights"]),
        (&["import", &config], ["is a JSON file", "bitnetc import"]),
        (&["import", "bitnet-2b-4t"], ["is a model", "bitnetc plan"]),
    ] {
        let error = refused(args, 1);
        assert!(says.iter().all(|says| error.contains(says)), "{args:?}: {error}");
    }
}
