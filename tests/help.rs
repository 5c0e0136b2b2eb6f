//! The examples of every command's help: a shell runs each as it stands, and it fits a terminal of 80 columns, so that it can be copied.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use common::stdout;

/// Examples that are not run, and why: the beginning of their line.
const NEED: [(&str, &str); 16] = [
    ("bitnetc matrix  ", "hours of a processor"),
    ("bitnetc matrix --quick", "minutes of a processor; tests/json.rs has one of its plans"),
    ("bitnetc ttnn setup", "the network"),
    ("bitnetc ttnn info --real", "a card"),
    ("bitnetc ttnn selftest", "a card, or the simulator"),
    ("bitnetc ttnn oracle\n", "minutes of a processor; the next example has fewer draws"),
    ("bitnetc import model.gguf", "a .gguf; tests/gguf imports and runs them"),
    ("bitnetc run model.ron --weights model.gguf", "the same"),
    ("bitnetc import ggml-model-i2_s.gguf", "the same"),
    ("bitnetc ttnn oracle --any-release", "another release of TT-NN"),
    ("bitnetc check plan.ron --numerics", "the simulator"),
    ("bitnetc run plan.ron --device ttnn", "a card"),
    ("bitnetc calibrate --profile", "what a card measured; tests/calibrate.rs makes it up"),
    ("python program.py", "a card; tests/emit runs programs on a mock"),
    ("bitnetc run plan.ron --weights path/to/checkpoint --chat", "a person who talks; tests/run.rs does"),
    ("bitnetc models  ", "a minute of a processor in an unoptimised build: a plan of every model for every card"),
];

/// What would take minutes in an unoptimised build, and what is run in its place: the same options with less to do.
const LESS: [(&str, &str); 10] = [
    ("graphs/bitnet-b1.58-2b-4t.ron", "graphs/tiny-shakespeare.ron"),
    ("bitnet-2b-4t", "tiny-shakespeare"),
    ("bitnetc matrix", "bitnetc matrix --quick --model tiny-shakespeare"),
    ("--draws 500", "--draws 20"),
    ("bitnetc calibrate\n", "bitnetc calibrate --rows mine.ron\n"),
    ("bitnetc calibrate --target", "bitnetc calibrate --rows mine.ron --target"),
    ("bitnetc calibrate --calls", "bitnetc calibrate --rows mine.ron --calls"),
    ("bitnetc levers tiny-shakespeare  ", "bitnetc levers tiny-shakespeare --batch 1"),
    ("bitnetc levers tiny-shakespeare --policy", "bitnetc levers tiny-shakespeare --target n150 --batch 1 --policy"),
    ("bitnetc bench", "bitnetc bench --runs 1"),
];

/// Examples whose answer is in the exit code.
const ANSWERS: [&str; 2] = ["bitnetc ask", "bitnetc diff"];

/// The help of a command and of all below it.
fn helps(command: &[&str], found: &mut Vec<(String, String)>) {
    let help = stdout(&[command, &["--help"]].concat());
    let below = help.split("\nCommands:\n").nth(1).unwrap_or_default();
    // What follows a name's line is indented further.
    let names = below.lines().take_while(|line| line.starts_with("  ")).filter(|line| !line.starts_with("   "));
    for name in names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
        helps(&[command, &[name]].concat(), found);
    }
    found.push((format!("bitnetc {}", command.join(" ")), help));
}

/// The lines of the block of examples.
fn examples(help: &str) -> Vec<&str> {
    let block = help.lines().skip_while(|line| !["Examples:", "Example:"].contains(line)).skip(1);
    block.take_while(|line| line.starts_with("  ")).map(|line| &line[2..]).collect()
}

/// The commands of a block: lines that a quote or a backslash goes over are one.
fn commands<'e>(lines: &[&'e str]) -> Vec<Vec<&'e str>> {
    let mut commands: Vec<Vec<&str>> = Vec::new();
    for line in lines {
        let goes_on = commands.last().is_some_and(|last| {
            last.concat().matches('\'').count() % 2 == 1 || last.last().is_some_and(|line| line.ends_with('\\'))
        });
        match commands.last_mut().filter(|_| goes_on) {
            Some(last) => last.push(line),
            None => commands.push(vec![line]),
        }
    }
    commands
}

/// A folder with everything that examples name, and what stands for programs that are not ours.
fn scene(folder: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    for shared in ["graphs", "targets", ".bitnetc"] {
        symlink(root.join(shared), folder.join(shared)).unwrap();
    }
    for made in ["path/to/checkpoint", "bin", ".local/share/bash-completion/completions"] {
        fs::create_dir_all(folder.join(made)).unwrap();
    }
    for file in fs::read_dir(root.join("graphs/tiny-shakespeare")).unwrap().map(|entry| entry.unwrap().path()) {
        symlink(&file, folder.join("path/to/checkpoint").join(file.file_name().unwrap())).unwrap();
    }
    symlink("path/to/checkpoint", folder.join("bitnet-b1.58-2B-4T")).unwrap();
    for name in ["plan.ron", "plan.plan", "a.ron"] {
        stdout(&["plan", "tiny-shakespeare", "-o", &at(name)]);
    }
    stdout(&["plan", "tiny-shakespeare", "--policy", "exact", "-o", &at("b.ron")]);
    symlink("graphs/tiny-shakespeare.ron", folder.join("my-model.ron")).unwrap();
    let text = "ROMEO:\nO our griefs are full of love.\n";
    for (name, text) in [
        ("play.txt", text),
        ("book.txt", text),
        ("lists.json", "[[1, 2, 3, 4]]"),
        (
            "mine.ron",
            "(steps: [(model: \"llama-3.1-8b\", target: \"n150\", tokens_per_s: 28.3)], \
             calls: [(what: \"norm\", target: \"p150\", us: (28, 29), call: Norm(columns: 2560))])",
        ),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
    let speeds = "[{\"n_prompt\":128,\"n_gen\":0,\"avg_ts\":50},{\"n_prompt\":0,\"n_gen\":32,\"avg_ts\":12}]";
    program(&folder.join("path/to/llama-bench"), &format!("echo '{speeds}'"));
    for other in ["jq", "check-jsonschema", "man", "dot", "ttnn-visualizer", "tt-perf-report", "model-explorer"] {
        program(&folder.join("bin").join(other), "test -t 0 || cat >/dev/null");
    }
    symlink(env!("CARGO_BIN_EXE_bitnetc"), folder.join("bin/bitnetc")).unwrap();
}

fn program(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn every_example_fits_a_terminal_and_runs() {
    let mut all = Vec::new();
    helps(&[], &mut all);
    let folder = tempfile::tempdir().unwrap();
    scene(folder.path());
    let path = format!("{}:{}", folder.path().join("bin").display(), std::env::var("PATH").unwrap());
    let (mut run, mut wrong) = (0, String::new());
    for (command, help) in &all {
        let lines = examples(help);
        assert!(!lines.is_empty() || command == "bitnetc ttnn", "{command} has no examples");
        for line in lines.iter().filter(|line| line.chars().count() > 78) {
            wrong += &format!("{command}: too long for 80 columns: {line}\n");
        }
        for example in commands(&lines).into_iter().map(|lines| lines.join("\n")) {
            if example.starts_with('#') || NEED.iter().any(|(begin, _)| format!("{example}\n").starts_with(begin)) {
                continue;
            }
            let less = LESS.iter().fold(format!("{example}\n"), |text, (much, little)| text.replace(much, little));
            let mut shell = Command::new("sh");
            let out = shell.args(["-ec", &less]).current_dir(folder.path()).env("HOME", folder.path());
            let out =
                out.envs([("PATH", &*path), ("NO_COLOR", "1")]).stdin(std::process::Stdio::null()).output().unwrap();
            run += 1;
            let answers = ANSWERS.iter().any(|begin| example.starts_with(begin)) && out.status.code() == Some(1);
            if !(out.status.success() || answers) {
                wrong += &format!("{example}\nends with {}: {}\n", out.status, String::from_utf8_lossy(&out.stderr));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(run > 60, "only {run} examples were found");
}
