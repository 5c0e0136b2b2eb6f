//! TT-NN's release: named in one place, recorded in plans, and never mistaken for another one.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bitnetc_plan::{TtnnRelease, format};
use common::{refused, stdout};

/// No release of TT-NN.
const OTHER: &str = "9.9.9";

/// Sources below `directory`.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if path.is_dir() {
            sources(&path, found);
        } else if ["rs", "cpp", "h", "toml", "ron", "yaml", "py", "sh", "s"].contains(&extension) {
            found.push(path);
        }
    }
}

/// The directories of the workspace's members, and those of the package at its root.
fn directories(root: &Path) -> Vec<PathBuf> {
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let (_, members) = manifest.split_once("members = [").unwrap();
    let (members, _) = members.split_once(']').unwrap();
    let members = members.split(',').map(|member| member.trim().trim_matches('"')).filter(|member| !member.is_empty());
    let own = ["src", "tests", "benches", "examples", "targets", "cpp"];
    members.chain(own).map(|name| root.join(name)).filter(|path| path.is_dir()).collect()
}

#[test]
fn a_version_stands_in_the_releases_data_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = vec![root.join("do"), root.join("build.rs"), root.join("Cargo.toml")];
    directories(root).iter().for_each(|directory| sources(directory, &mut found));
    assert!(found.len() > 300, "{} sources", found.len());
    let named = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap_or_default();
        TtnnRelease::ALL.iter().any(|release| text.contains(release.version))
    };
    let data = root.join("plan/release");
    let (data, elsewhere): (Vec<_>, Vec<_>) = found.into_iter().filter(named).partition(|path| path.starts_with(&data));
    assert!(!data.is_empty());
    assert!(elsewhere.is_empty(), "a version of TT-NN stands in {elsewhere:#?}");
}

/// A plan of the small model as if it had been made for another release.
fn foreign(folder: &Path) -> String {
    let path = folder.join("plan.ron");
    stdout(&["plan", "tiny-shakespeare", "--prefill", "none", "-o", path.to_str().unwrap()]);
    let mut plan = format::read(&path).unwrap();
    assert_eq!(plan.release, TtnnRelease::latest().version);
    plan.release = OTHER.into();
    std::fs::write(&path, format::encode(&path, &plan).unwrap()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_plan_of_another_release_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let plan = foreign(folder.path());
    for args in [&["emit", &plan, "--python"][..], &["run", &plan, "--prompt", "a"], &["explain", &plan, "down"]] {
        let error = refused(args, 1);
        assert!(error.contains(OTHER) && error.contains("`bitnetc plan`"), "{args:?}: {error}");
    }
    for args in [&["check", &plan][..], &["check", &plan, "--ttnn"]] {
        let out = common::bitnetc(args);
        let text = String::from_utf8(out.stdout).unwrap();
        assert_eq!(out.status.code(), Some(1), "{text}");
        assert!(text.contains(OTHER) && text.contains("`bitnetc plan`") && !text.contains("accepted"), "{text}");
    }
}

#[test]
fn an_unknown_release_cannot_be_planned_for() {
    let latest = TtnnRelease::latest().version;
    let error = refused(&["plan", "tiny-shakespeare", "--release", OTHER], 2);
    assert!(error.contains(OTHER) && error.contains(latest), "{error}");
    let plan = |args: &[&str]| stdout(&[&["plan", "tiny-shakespeare", "-o", "-"], args].concat());
    assert_eq!(plan(&["--release", latest]), plan(&[]));
}

/// A Python that says it has another release.
fn python(folder: &Path) -> String {
    let path = folder.join("python3");
    fs::write(folder.join("libpython.so"), "").unwrap();
    let (folder, (major, minor)) = (folder.display(), TtnnRelease::latest().python[0]);
    let answer = format!(
        r#"{{"version":[{major},{minor}],"site_packages":"{folder}","ttnn":"{OTHER}","has_venv":true,"library_directories":["{folder}"],"library_names":["libpython.so"]}}"#
    );
    fs::write(&path, format!("#!/bin/sh\necho '{answer}'\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_python_with_another_release_is_refused_with_what_to_install() {
    let folder = tempfile::tempdir().unwrap();
    let (python, plan) = (python(folder.path()), folder.path().join("plan.ron").to_str().unwrap().to_owned());
    stdout(&["plan", "tiny-shakespeare", "--prefill", "none", "-o", &plan]);
    let install = format!("pip install ttnn=={}", TtnnRelease::latest());
    for args in [&["check", &plan, "--ttnn"][..], &["ttnn", "info"], &["ttnn", "oracle", "--draws", "1"]] {
        let error = refused(&[args, &["--python", &python]].concat(), 1);
        assert!(error.contains(&format!("has ttnn {OTHER}")) && error.contains(&install), "{args:?}: {error}");
    }
    // The oracle may ask any release: this one has passed for an interpreter until it was to be loaded.
    let error = refused(&["ttnn", "oracle", "--any-release", "--draws", "1", "--python", &python], 1);
    assert!(error.contains("libpython.so") && !error.contains("has ttnn"), "{error}");
}
