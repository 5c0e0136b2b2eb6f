//! What a path that a person gave is, and which command takes it: files of one kind are often given where another is wanted.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use bitnetc_compiler::model;
use bitnetc_plan::{folder, format, input};
use miette::{Report, miette};

use crate::input::is_stdin;

/// What is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No file, but the name of a shipped model.
    Shipped,
    /// A folder with a config.json.
    Checkpoint,
    /// Another folder.
    Folder,
    /// A config.json, or another JSON file.
    Json,
    /// A GGUF file.
    Gguf,
    /// A safetensors file.
    Safetensors,
    /// What Git LFS leaves in the place of a large file.
    Pointer,
    /// A model's RON file.
    Model,
    /// A plan.
    Plan,
    /// A file of another kind, a pipe, or nothing.
    Other,
}

/// Bytes that tell the kind of a file.
const START: u64 = 1 << 16;

impl Kind {
    /// Looks at a path. Only regular files are read, and only their beginning: what comes through a pipe can be read once.
    pub fn of(name: &str) -> Kind {
        let path = Path::new(name);
        if !path.exists() && model::find(name).is_some() {
            return Kind::Shipped;
        }
        if path.is_dir() {
            return if path.join("config.json").exists() { Kind::Checkpoint } else { Kind::Folder };
        }
        let mut start = Vec::new();
        let mut read = || File::open(path)?.take(START).read_to_end(&mut start);
        if is_stdin(path) || !path.is_file() || read().is_err() {
            return Kind::Other;
        }
        Kind::of_bytes(&start, path)
    }

    /// Looks at the beginning of what `path` holds.
    pub fn of_bytes(bytes: &[u8], path: &Path) -> Kind {
        let start = &bytes[..bytes.len().min(START as usize)];
        let text = String::from_utf8_lossy(start);
        match text.trim_start() {
            _ if folder::is_lfs_pointer(start) => Kind::Pointer,
            _ if start.starts_with(b"GGUF") => Kind::Gguf,
            _ if start.starts_with(&format::MAGIC) => Kind::Plan,
            // A length in eight bytes, then JSON.
            _ if start.get(8) == Some(&b'{') && path.extension().is_some_and(|e| e == "safetensors") => {
                Kind::Safetensors
            }
            text if body(text).starts_with("Model") => Kind::Model,
            text if body(text).starts_with('(') => Kind::Plan,
            text if text.starts_with('{') => Kind::Json,
            _ => Kind::Other,
        }
    }
}

/// RON text behind its comments and attributes: a model begins with the word `Model`, a plan with a parenthesis.
fn body(text: &str) -> &str {
    let mut text = text.trim_start_matches(input::MARK).trim_start();
    loop {
        let rest = if text.starts_with("//") || text.starts_with("#!") {
            text.split_once('\n')
        } else if text.starts_with("/*") {
            text.split_once("*/")
        } else {
            break text;
        };
        text = rest.map_or("", |(_, rest)| rest.trim_start());
    }
}

/// The error of a path that is not `wanted`, "a model" or "a plan" or whatever it is, with the command that takes it; nothing when it is
/// of no other kind that is known.
pub fn misplaced(name: &str, wanted: &str) -> Option<Report> {
    let (is, help) = match Kind::of(name) {
        Kind::Shipped => ("a model", format!("`bitnetc plan {name} -o plan.ron` makes a plan of it")),
        Kind::Model => ("a model file", format!("`bitnetc plan {name} -o plan.ron` makes a plan of it")),
        Kind::Plan => {
            ("a plan", format!("`bitnetc inspect {name}` shows it, `bitnetc run {name} --weights FOLDER` runs it"))
        }
        Kind::Checkpoint => {
            ("a checkpoint's folder", format!("`bitnetc import {name} -o model.ron` makes a model file of it"))
        }
        Kind::Folder => ("a folder without a config.json", within(Path::new(name))),
        Kind::Json => {
            let folder = Path::new(name).parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            (
                "a JSON file",
                format!(
                    "`bitnetc import {} -o model.ron` reads a checkpoint's folder with its config.json",
                    folder.display()
                ),
            )
        }
        Kind::Gguf => ("a GGUF file", format!("`bitnetc import {name} -o model.ron` makes a model file of it")),
        Kind::Safetensors => (
            "a file of weights",
            "give its folder: to `bitnetc import` for a model file, to --weights for the weights".into(),
        ),
        Kind::Pointer => ("a pointer of Git LFS, not the file it stands for", "`git lfs pull` fetches that".into()),
        Kind::Other => return None,
    };
    Some(miette!(help = help, "{name} is {is}, not {wanted}"))
}

/// What to give instead of a folder that has no config.json: a checkpoint further in, as the cache of downloads keeps one for each
/// revision and as training writes one for each step, or a .gguf.
fn within(folder: &Path) -> String {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        paths
    };
    let is_checkpoint = |path: &&PathBuf| path.join("config.json").exists();
    let is_gguf = |path: &&PathBuf| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf"));
    let (here, snapshots) = (entries(folder), entries(&folder.join("snapshots")));
    let inner: Vec<PathBuf> = snapshots.iter().flat_map(|snapshot| entries(snapshot)).collect();
    let found = snapshots.iter().chain(&here).find(is_checkpoint).or_else(|| here.iter().chain(&inner).find(is_gguf));
    match found {
        Some(path) => format!("`bitnetc import {} -o model.ron` makes a model file of what is in it", path.display()),
        None => {
            "give a model's name (`bitnetc models` lists them), a file, or a checkpoint's folder to `bitnetc import`"
                .into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_told_by_its_first_word() {
        for model in ["Model(", "// Model\n\nModel (", "/* a\nb */ #![enable(implicit_some)]\nModel("] {
            assert!(body(model).starts_with("Model"), "{model}");
        }
        for other in ["(\n  format: 1,", "// Model", "/* Model", "", "Plan(model: Model("] {
            assert!(!body(other).starts_with("Model"), "{other}");
        }
    }

    #[test]
    fn each_kind_is_told_apart_and_its_command_named() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
            path.to_str().unwrap().to_string()
        };
        let config = put("checkpoint/config.json", b"{}");
        let checkpoint = folder.path().join("checkpoint").to_str().unwrap().to_string();
        let empty = folder.path().join("empty").to_str().unwrap().to_string();
        std::fs::create_dir(&empty).unwrap();
        put("models--a--b/snapshots/0a/config.json", b"{}");
        let cached = folder.path().join("models--a--b").to_str().unwrap().to_string();
        for (name, kind, command) in [
            ("bitnet-2b-4t", Kind::Shipped, "bitnetc plan bitnet-2b-4t"),
            (&checkpoint, Kind::Checkpoint, "bitnetc import"),
            (&empty, Kind::Folder, "bitnetc models"),
            // The cache of downloads, and a folder of training, have the checkpoint further in.
            (folder.path().to_str().unwrap(), Kind::Folder, "checkpoint -o model.ron"),
            (&cached, Kind::Folder, "snapshots/0a -o model.ron"),
            (&config, Kind::Json, "checkpoint -o model.ron"),
            (&put("a.gguf", b"GGUF\x03\0\0\0"), Kind::Gguf, "bitnetc import"),
            (&put("a.safetensors", b"\x02\0\0\0\0\0\0\0{}"), Kind::Safetensors, "--weights"),
            (&put("b.safetensors", b"version https://git-lfs.github.com/spec/v1\n"), Kind::Pointer, "git lfs pull"),
            (&put("m.ron", b"// a model\nModel(name: 1)"), Kind::Model, "bitnetc plan"),
            (&put("p.ron", b"#![enable(implicit_some)]\n(\n    format: 12,\n"), Kind::Plan, "bitnetc inspect"),
            (&put("p.plan", &format::MAGIC), Kind::Plan, "bitnetc run"),
        ] {
            assert_eq!(Kind::of(name), kind, "{name}");
            let report = misplaced(name, "something else").unwrap();
            let help = report.help().unwrap().to_string();
            assert!(help.contains(command), "{name}: {help}");
        }
        assert!(misplaced("/nowhere", "x").is_none() && misplaced("/dev/null", "x").is_none());
    }
}
