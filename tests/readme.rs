//! The README and the pages of docs/ show what the program prints.
//!
//! Every block that begins with a `$` holds samples: a command line, then its output. The commands of a page run in order in one empty
//! folder in which graphs/ and targets/ lie, so that a sample may use the plan that one before it wrote. What is shown may leave out lines,
//! by a line of three dots, and parts of a line, by three dots in it. Blocks that begin otherwise are not run: they need TT-NN, weights that
//! do not come along, or minutes.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A command of a page, and the lines shown below it.
struct Sample<'a> {
    command: &'a str,
    shown: Vec<&'a str>,
}

fn samples(page: &str) -> Vec<Sample<'_>> {
    let mut samples: Vec<Sample<'_>> = Vec::new();
    // Text and blocks alternate at lines that begin with three backticks.
    let (mut inside, mut run) = (false, false);
    for line in page.lines() {
        if line.starts_with("```") {
            (inside, run) = (!inside, false);
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            run = true;
            samples.push(Sample { command, shown: Vec::new() });
        } else if let Some(sample) = samples.last_mut().filter(|_| run) {
            sample.shown.push(line.trim_end());
        }
    }
    samples
}

/// The output of a shell for a command line, errors included, without blank lines before and after.
fn printed(command: &str, folder: &Path) -> Vec<String> {
    let program = Path::new(env!("CARGO_BIN_EXE_bitnetc")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let script = format!("exec 2>&1; {command}");
    let shell =
        Command::new("sh").args(["-c", &script]).current_dir(folder).env("PATH", path).env("NO_COLOR", "1").output();
    let text = String::from_utf8(shell.unwrap().stdout).unwrap();
    text.trim_matches('\n').lines().map(|line| line.trim_end().to_string()).collect()
}

/// Whether a line is the one shown, three dots standing for anything.
fn same_line(shown: &str, line: &str) -> bool {
    let mut parts = shown.split("...");
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Whether an output is the one shown, a line of three dots standing for any lines.
fn same(shown: &[&str], lines: &[String]) -> bool {
    match (shown.split_first(), lines.split_first()) {
        (None, first) => first.is_none(),
        (Some((&"...", rest)), first) => same(rest, lines) || first.is_some_and(|(_, lines)| same(shown, lines)),
        (Some((line, rest)), Some((first, lines))) => same_line(line, first) && same(rest, lines),
        (Some(_), None) => false,
    }
}

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let entries = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    // The folder of schemas has no samples.
    let mut pages: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    pages.push(root.join("README.md"));
    pages
}

#[test]
fn samples_are_what_the_program_prints() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut run, mut wrong) = (0, String::new());
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let folder = tempfile::tempdir().unwrap();
        for shared in ["graphs", "targets"] {
            symlink(root.join(shared), folder.path().join(shared)).unwrap();
        }
        for Sample { command, shown } in samples(&text) {
            let lines = printed(command, folder.path());
            run += 1;
            if !same(&shown, &lines) {
                wrong += &format!("{}: `{command}` prints\n{}\n\n", page.display(), lines.join("\n"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(run >= 10, "only {run} samples were found");
}

#[test]
fn links_lead_to_files() {
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            let file = link.split('#').next().unwrap();
            assert!(page.parent().unwrap().join(file).exists(), "{}: {link} is not there", page.display());
        }
    }
}

#[test]
fn dots_stand_for_what_is_left_out() {
    let lines: Vec<String> = ["step  us", "gate  41.7", "up    41.7"].map(String::from).to_vec();
    for shown in [&["...", "up    41.7"][..], &["step  us", "gate ...", "..."], &["step  us", "g...7", "up...41.7"]] {
        assert!(same(shown, &lines), "{shown:?}");
    }
    for shown in [&["..."][..0], &["step  us", "..."][..1], &["...", "gate ..."], &["step  us", "g...8", "..."]] {
        assert!(!same(shown, &lines), "{shown:?}");
    }
}
