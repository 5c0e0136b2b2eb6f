//! Terminals that tell no size, and none at all: lines are what they are in a file.
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
fn tables_and_help_are_as_in_a_file() {
    let commands: [&[&str]; 4] =
        [&["targets"], &["--help"], &["plan", "--help"], &["plan", "tiny-shakespeare", "--prefill", "none"]];
    for args in commands {
        let lines = |text: &str| text.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
        assert_eq!(lines(&on_a_terminal_of_no_size(args)), lines(&stdout(args)), "{args:?}");
    }
}

#[test]
fn help_without_a_terminal_keeps_its_lines_when_columns_is_0() {
    for args in [&["--help"][..], &["ttnn", "oracle", "--help"]] {
        let out = Command::new(env!("CARGO_BIN_EXE_bitnetc")).args(args).env("COLUMNS", "0").output().unwrap();
        assert_eq!(String::from_utf8(out.stdout).unwrap(), stdout(args), "{args:?}");
    }
}
