//! Terminals that tell no size, which have 80 columns, and none at all; and what shells and `man` are told.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::fs::File;
use std::io::Read as _;
use std::process::{Command, Stdio};

use common::stdout;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// The output of `bitnetc` on a fresh pseudo-terminal, which has 0 columns and 0 rows until somebody tells it otherwise.
fn on_a_terminal_of_no_size(args: &[&str]) -> String {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let inner = || File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_bitnetc"))
        .args(args)
        .envs([("NO_COLOR", "1"), ("COLUMNS", "0")])
        .stdin(Stdio::null())
        .stdout(inner())
        .stderr(inner())
        .spawn()
        .unwrap();
    let mut text = Vec::new();
    // Once the child has closed the terminal, reading on is an error and not an end.
    let _ = File::from(terminal).read_to_end(&mut text);
    assert!(child.wait().unwrap().success());
    String::from_utf8(text).unwrap().replace("\r\n", "\n")
}

#[test]
fn tables_and_help_keep_to_80_columns() {
    let commands: [&[&str]; 5] = [
        &["targets"],
        &["--help"],
        &["plan", "--help"],
        &["rules", "--help"],
        &["plan", "tiny-shakespeare", "--prefill", "none"],
    ];
    for args in commands {
        let text = on_a_terminal_of_no_size(args);
        let longest = text.lines().max_by_key(|line| line.chars().count()).unwrap();
        // The examples of help are lines to be copied, and stay whole.
        let copied = args.contains(&"--help") && longest.starts_with("  ");
        assert!(longest.chars().count() <= 80 || copied, "{args:?}: {longest}");
        assert!(text.lines().count() > 3 && text.lines().any(|line| line.chars().count() > 50), "{args:?}: {text}");
    }
}

#[test]
fn help_without_a_terminal_keeps_its_lines_when_columns_is_0() {
    for args in [&["--help"][..], &["ttnn", "oracle", "--help"]] {
        let out = Command::new(env!("CARGO_BIN_EXE_bitnetc")).args(args).env("COLUMNS", "0").output().unwrap();
        assert_eq!(String::from_utf8(out.stdout).unwrap(), stdout(args), "{args:?}");
    }
}

/// What a shell is offered for the last word of a line.
fn offered(line: &[&str]) -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitnetc"));
    let out = command.env("COMPLETE", "fish").arg("--").arg("bitnetc").args(line).output().unwrap();
    assert!(out.status.success(), "{line:?}");
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

#[test]
fn completions_know_models_cards_policies_and_what_is_in_a_plan() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.ron");
    let plan = plan.to_str().unwrap();
    stdout(&["plan", "tiny-shakespeare", "--prefill", "32,64", "-o", plan]);
    assert!(offered(&["plan", "bitnet-2b"]).contains(&"bitnet-2b-4t".to_owned()));
    assert_eq!(offered(&["plan", "tiny-shakespeare", "--target", "p1"]), ["p100", "p150"]);
    assert_eq!(offered(&["plan", "tiny-shakespeare", "--policy", ""]), ["balanced", "exact", "fast", "fastest"]);
    assert_eq!(offered(&["plan", "tiny-shakespeare", "--cache", "bfp"]), ["bfp8", "bfp4"]);
    assert_eq!(offered(&["inspect", plan, "--phase", "pre"]), ["prefill-32", "prefill-64"]);
    assert_eq!(offered(&["explain", plan, "dow"]), ["down"]);
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert!(stdout(&["completions", shell]).contains("bitnetc"), "{shell}");
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man 1");
    stdout(&["man", pages.to_str().unwrap()]);
    let page = std::fs::read_to_string(pages.join("bitnetc-ttnn-setup.1")).unwrap();
    assert!(page.contains(".TH bitnetc-ttnn-setup 1") && page.contains("virtual environment"), "{page}");
    assert!(common::refused(&["man", "/dev/null/x"], 1).contains("cannot write manual pages"));
}
