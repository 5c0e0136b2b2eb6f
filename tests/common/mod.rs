//! Helpers of several test files: the program itself, and the results that the small model is known to give.

#![allow(dead_code, reason = "no test file needs everything")]

pub mod golden;

use std::process::{Command, Output};

/// Runs `bitnetc`.
pub fn bitnetc(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bitnetc")).args(args).env("NO_COLOR", "1").output().unwrap()
}

/// Runs it, expects that it succeeds, and gives its output.
pub fn stdout(args: &[&str]) -> String {
    let out = bitnetc(args);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Runs it, expects `code`, and gives stderr as one line.
pub fn refused(args: &[&str], code: i32) -> String {
    let out = bitnetc(args);
    let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(code), "{args:?}: {stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr.replace("│", " ").split_whitespace().collect::<Vec<_>>().join(" ")
}
