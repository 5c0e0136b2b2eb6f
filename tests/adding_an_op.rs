//! `docs/adding-an-op.md` lists the files of an op and the files that name all ops: both lists are what the repository has.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use bitnetc_plan::Op;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The paths in the first column of the table below a heading.
fn table(heading: &str) -> Vec<String> {
    let page = fs::read_to_string(root().join("docs/adding-an-op.md")).unwrap();
    let section = page.split("\n## ").find(|s| s.lines().next() == Some(heading)).unwrap();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let paths: Vec<String> = cells.map(|(path, _)| path.to_owned()).collect();
    assert!(!paths.is_empty(), "no table below {heading}");
    paths
}

/// Every Rust file of the crates.
fn sources() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = ["plan", "compiler", "runtime", "src"].map(|name| root().join(name)).into();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files
}

/// `CreateHeadsDecode` of `create_heads_decode`.
fn variant(name: &str) -> String {
    let word = |word: &str| word[..1].to_uppercase() + &word[1..];
    name.split('_').map(word).collect()
}

/// True of a file that has every op in a list of its own, or makes something of the one list.
fn names_every_op(text: &str, variants: &[String]) -> bool {
    // Code only: a file may mention the list in its documentation.
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let words: BTreeSet<&str> = code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    words.contains("for_each_op") || variants.iter().all(|v| words.contains(v.as_str()))
}

#[test]
fn every_op_has_each_file_of_the_page() {
    for pattern in table("Files of an op") {
        assert!(pattern.contains("<op>"), "{pattern} is not one file for each op");
        let missing: Vec<String> = Op::NAMES
            .iter()
            .map(|op| pattern.replace("<op>", op))
            .filter(|file| !root().join(file).is_file())
            .collect();
        assert!(missing.is_empty(), "{pattern} of the page: there is no {missing:?}");
    }
}

#[test]
fn the_page_names_every_file_that_names_every_op() {
    let variants: Vec<String> = Op::NAMES.iter().map(|name| variant(name)).collect();
    let found: BTreeSet<String> = sources()
        .into_iter()
        .filter(|path| names_every_op(&fs::read_to_string(path).unwrap(), &variants))
        .map(|path| path.strip_prefix(root()).unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(found, table("Lists of all ops").into_iter().collect());
}
