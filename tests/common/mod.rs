//! Helpers of several test files: the program itself, and the results that the small model is known to give.

#![allow(dead_code, reason = "no test file needs everything")]

pub mod golden;

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

/// Runs `bitnetc`.
pub fn bitnetc(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bitnetc")).args(args).env("NO_COLOR", "1").env_remove("COLUMNS").output().unwrap()
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

/// Runs it with text on stdin, expects that it succeeds, and gives stdout and stderr.
pub fn fed(args: &[&str], stdin: &str) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitnetc"));
    let [input, output, error] = [(); 3].map(|()| Stdio::piped());
    let command = command.args(args).env("NO_COLOR", "1").stdin(input).stdout(output).stderr(error);
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    let [stdout, stderr] = [out.stdout, out.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(out.status.success(), "{args:?}: {stderr}");
    (stdout, stderr)
}
