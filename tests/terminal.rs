//! Terminals that tell no size, which have 80 columns, and none at all; and what shells and `man` are told.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::fs::File;
use std::io::Read as _;
use std::process::{Command, Stdio};

use common::stdout;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// The output of `bitnetc` on a fresh pseudo-terminal of so many columns, which are 0 until somebody tells it otherwise.
fn on_a_terminal(columns: u16, args: &[&str]) -> String {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let inner = || File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    tcsetwinsize(&terminal, Winsize { ws_row: 50, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
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
        let text = on_a_terminal(0, args);
        let longest = text.lines().max_by_key(|line| line.chars().count()).unwrap();
        // The examples of help are lines to be copied, and stay whole.
        let copied = args.contains(&"--help") && longest.starts_with("  ");
        assert!(longest.chars().count() <= 80 || copied, "{args:?}: {longest}");
        assert!(text.lines().count() > 3 && text.lines().any(|line| line.chars().count() > 50), "{args:?}: {text}");
    }
}

/// Every page of tables is tested beside its command; this is the way from the terminal to the page.
#[test]
fn tables_keep_to_the_terminal_unless_they_are_to_be_wide() {
    let args = ["plan", "tiny-shakespeare", "--prefill", "none", "--quiet"];
    let widest = |text: &str| text.lines().map(|line| line.chars().count()).max().unwrap();
    let (whole, mut last) = (stdout(&args), String::new());
    assert!(widest(&whole) > 200 && whole.contains("peak bandwidth"), "{whole}");
    for columns in [80, 100, 120, 200] {
        let text = on_a_terminal(columns, &args);
        assert!(widest(&text) <= columns.into() && text != last, "{columns}:\n{text}");
        assert_eq!(text.contains("DRAM us"), text.contains("peak bandwidth"), "{columns}:\n{text}");
        last = text;
    }
    assert_eq!(on_a_terminal(80, &[&args[..], &["--wide"]].concat()), whole);
    // Without a terminal COLUMNS says how wide it is.
    let out =
        Command::new(env!("CARGO_BIN_EXE_bitnetc")).args(args).envs([("COLUMNS", "100"), ("NO_COLOR", "1")]).output();
    assert_eq!(String::from_utf8(out.unwrap().stdout).unwrap(), on_a_terminal(100, &args));
}

/// A line of progress that was taken away takes nothing of the text with it.
#[test]
fn the_prompt_stands_before_its_answer_on_a_terminal() {
    let text = on_a_terminal(100, &["run", "--prompt", "ROMEO:", "--tokens", "5", "--prefill", "32"]);
    // What is taken away ends in the code that clears the line.
    let last = text.rsplit("\u{1b}[2K").next().unwrap();
    assert!(last.starts_with("ROMEO:\nI'll"), "{text:?}");
}

/// Progress is for people who look at it, on stderr, and is taken away at the end.
#[test]
fn progress_is_shown_on_a_terminal_only_and_not_when_it_is_to_be_quiet() {
    let args = ["levers", "tiny-shakespeare", "--target", "n150"];
    let told = "1 of 2: levers of tiny-shakespeare on n150, batch 1";
    assert!(on_a_terminal(100, &args).contains(told));
    assert!(!on_a_terminal(100, &[&args[..], &["-q"]].concat()).contains(told));
    let out = common::bitnetc(&args);
    assert!(out.status.success() && out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    // Neither are there remarks.
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.ron");
    let plan = ["plan", "tiny-shakespeare", "--prefill", "none", "-o", plan.to_str().unwrap()];
    assert!(String::from_utf8_lossy(&common::bitnetc(&plan).stderr).contains("planned in"));
    assert!(common::bitnetc(&[&plan[..], &["--quiet"]].concat()).stderr.is_empty());
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
